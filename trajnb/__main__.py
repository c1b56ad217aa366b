"""`python -m trajnb`, and `accelerate launch -m trajnb`: the command `trajnb`."""

from trajnb.study.cli import main

if __name__ == "__main__":
    main(prog_name="trajnb")
