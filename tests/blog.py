"""A blog with polymorphic references: a comment is about a post, a user or another comment, and was seen on a post or a user."""

from __future__ import annotations

import numpy as np
import pandas as pd

KEYS = """
tables:
  users: {primary_key: [id]}
  posts:
    primary_key: [id]
    foreign_keys: [{columns: [author], references: {table: users, columns: [id]}}]
  comments:
    primary_key: [id]
    foreign_keys: [{columns: [writer], references: {table: users, columns: [id]}}]
    polymorphic:
      - {type: about_type, id: about_id, parents: {post: posts.id, user: users.id, comment: comments.id}}
      - {type: seen_type, id: seen_id, parents: {1: posts.id, 2: users.id}}
"""

LENGTH = {"post": 100, "user": 10, "comment": 40}


def blog(seed: int, comments: int = 240) -> dict[str, pd.DataFrame]:
    """Posts count in integers, users have codes, so ids are text. `about` may be null, and its type may then be one that is not
    declared, a declared one, or null; `seen` never is. The length of a comment says what it is about."""
    draw = np.random.default_rng(seed)
    users = pd.DataFrame({"id": [f"U-{7 * i + 3:05d}" for i in range(30)], "country": draw.choice(["DE", "FR", "US"], 30)})
    posts = pd.DataFrame({"id": 1000 + 3 * np.arange(40), "author": draw.choice(users["id"], 40), "topic": draw.choice(list("abc"), 40)})
    texts = {"post": posts["id"].astype(str).to_numpy()[:25], "user": users["id"].to_numpy()}
    texts["1"], texts["2"] = posts["id"].astype(str).to_numpy(), texts["user"]
    about = draw.choice(["post", "user", "comment", "page", ""], comments, p=[0.5, 0.2, 0.15, 0.05, 0.1])
    own = [str(5000 + 2 * draw.integers(0, max(i, 1))) for i in range(comments)]
    ids = np.select([about == of for of in ("post", "user")], [draw.choice(texts[of], comments) for of in ("post", "user")], own)
    nobody = np.isin(about, ["page", ""]) | ((about == "post") & (draw.random(comments) < 0.1))
    seen = draw.choice(["1", "2"], comments, p=[0.7, 0.3])
    return {
        "users": users,
        "posts": posts,
        "comments": pd.DataFrame(
            {
                "id": 5000 + 2 * np.arange(comments),
                "about_type": np.where(about == "", None, about),
                "about_id": np.where(nobody, None, ids),
                "writer": np.where(draw.random(comments) < 0.3, None, draw.choice(users["id"], comments)),
                "length": [LENGTH.get(of, 70) + int(more) for of, more in zip(about, draw.integers(0, 5, comments), strict=True)],
                "seen_type": pd.Series(seen).astype("int64"),
                "seen_id": np.where(seen == "1", draw.choice(texts["1"], comments), draw.choice(texts["2"], comments)),
            }
        ),
    }


def orphans(tables: dict[str, pd.DataFrame]) -> int:
    """Ids that no row of the table that the type says has."""
    comments, found = tables["comments"], 0
    known = {of: set(tables[name]["id"].astype(str)) for of, name in (("post", "posts"), ("user", "users"), ("comment", "comments"))}
    for reference, parents in (("about", known), ("seen", {"1": known["post"], "2": known["user"]})):
        types, ids = comments[f"{reference}_type"].astype(str), comments[f"{reference}_id"]
        found += sum(1 for of, one in zip(types, ids, strict=True) if pd.notna(one) and str(one) not in parents.get(of, ()))
    return found


def degrees(tables: dict[str, pd.DataFrame], reference: str, of: str | int) -> list[int]:
    """Rows of each id of a type, in order."""
    comments = tables["comments"]
    return sorted(comments.loc[comments[f"{reference}_type"] == of, f"{reference}_id"].value_counts().tolist())
