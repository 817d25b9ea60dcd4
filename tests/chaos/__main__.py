"""Command line of the chaos run."""

import argparse
import sys
import time

from tests.chaos.storm import DaemonStorm, Storm


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--rounds", type=int, default=200, help="of server, client, IPCP and zygote")
    parser.add_argument("--daemon-rounds", type=int, default=20, help="of the daemon")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with Storm(options.seed) as storm:
        for number in range(options.rounds):
            storm.round(number)
        print(storm.summary())
    with DaemonStorm(options.seed) as storm_of_daemons:
        for number in range(options.daemon_rounds):
            storm_of_daemons.round(number)
        print(storm_of_daemons.summary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
