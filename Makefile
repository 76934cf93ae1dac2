# Two commands; each is a plain script for those without make.
.PHONY: demo test

demo:
	@ROWS="$(ROWS)" scripts/demo.sh

test:
	@scripts/test.sh
