"""Start the API and the dashboard alone: `python main.py --host 0.0.0.0 --port 8000`."""

import typer

from cli.api import api

if __name__ == "__main__":
    typer.run(api)
