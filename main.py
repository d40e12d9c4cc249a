"""Start the API and the dashboard alone: `python main.py --host 0.0.0.0 --port 8000`."""

import sys

from cli.main import main

if __name__ == "__main__":
    main(["api", *sys.argv[1:]])
