"""The only room that knows torch and lightgbm: degrees, links and rows, learned and drawn."""
