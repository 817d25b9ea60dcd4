import argparse
import random
import sys

from .rounds import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ouro_ssm.killtest", description="Kill processes that use flows.")
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="of the choices; the scheduler makes its own")
    options = parser.parse_args()
    seed = random.randrange(1 << 32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    result = run(options.rounds, seed)
    print(result.details())
    print(result.summary())
    return 0 if result.good else 1


sys.exit(main())
