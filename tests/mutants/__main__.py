"""Damages stores, parts, states and inputs in many ways, and runs `cellring` on each of these mutants.

    python tests/mutants BINARY SCRATCH [FAMILY ...] [OPTIONS]

FAMILY is one of stores, parts, states, inputs, links; without one, all. Prints a table of how the commands ended, and a line for each that did
not end as it may, with what makes the same mutant again; ends with status 1 if there is one. Equal seeds and numbers make equal mutants.

No mutant may make a command panic, hang, end by a signal, take memory beyond what the sound one takes, change a file that is not its
output, or deliver other data than the mutant holds by readers that share no code with cellring: of stores tests/spec_reader.py and
arrow.py, of inputs anndata, h5py, zarr and scipy. A refusal is one clear sentence.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import queue
import random
import shutil
import signal
import sys
import time
import traceback
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from judge import FINE, RIGHT, UNHARMED, Cellring  # noqa: E402

FAMILIES = ["stores", "parts", "states", "inputs", "links"]
# So many mutants of a family that some must be read as they should be.
MANY = 100


def prepared(args):
    """What makes and judges the mutants of each family. The sound stores and inputs are made by the command itself."""
    import stores
    from inputs import Inputs
    from links import Links
    folder = args.scratch / "bases"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    made = {"stores": stores.Stores, "parts": stores.Parts, "states": stores.States, "inputs": Inputs, "links": Links}
    cellring = Cellring(args.binary, args.seconds)
    return cellring, {family: made[family](cellring, folder, args.skip) for family in args.families}


def work(args, share, cellring, families, results):
    """Judges every mutant whose number leaves this rest."""
    place = args.scratch / f"share-{share}" / "mutant"
    cellring.start()
    for family, number in ((family, number) for family in families for number in range(args.first, args.first + args.count)):
        if number % args.jobs != share:
            continue
        try:
            found = families[family].judge(random.Random(f"{args.seed}/{family}/{number}"), number, place)
        except Exception as error:  # noqa: BLE001  a reader that gives up is a fault of the test, which is to be told
            found = "", traceback.format_exc(), [("test", f"fails: {type(error).__name__}", str(error))]
        results.put((family, number, *found))
    shutil.rmtree(place.parent, ignore_errors=True)
    results.put(None)


def collected(workers, results):
    """What the workers find, until all have ended; a worker that dies, and an interruption, leave mutants unjudged."""
    left = len(workers)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    while left:
        try:
            found = results.get(timeout=1)
        except queue.Empty:
            if not any(worker.is_alive() for worker in workers):
                return
            continue
        except KeyboardInterrupt:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            for worker in workers:
                worker.terminate()
            return
        if found is None:
            left -= 1
        else:
            yield found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("scratch", type=Path)
    parser.add_argument("families", nargs="*", metavar="FAMILY")
    parser.add_argument("--count", type=int, default=300, help="mutants of each family")
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1))
    parser.add_argument("--seconds", type=int, default=60, help="after which a command that goes on counts as one that hangs")
    parser.add_argument("--skip", action="store_true", help="leave out sound inputs that this cellring does not read, or reads otherwise")
    parser.add_argument("--show", action="store_true", help="print every mutant and how each command ended")
    args = parser.parse_args()
    args.families = args.families or FAMILIES
    if set(args.families) - set(FAMILIES):
        parser.error(f"a family is one of {', '.join(FAMILIES)}")
    args.scratch, args.binary, since = args.scratch.resolve(), args.binary.resolve(), time.monotonic()
    cellring, families = prepared(args)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    workers = [context.Process(target=work, args=(args, share, cellring, families, results)) for share in range(args.jobs)]
    for worker in workers:
        worker.start()
    table, done, faults = collections.Counter(), collections.Counter(), []
    for family, number, kind, said, ends in collected(workers, results):
        done[family] += 1
        for command, end, why in ends:
            table[family, kind, command, end] += 1
            if args.show:
                print(f"{family} {number}, {kind} ({said}): {command} {end}: {why[:300]}")
            if end not in FINE:
                faults.append((family, number, kind, said, command, end, why))
    for worker in workers:
        worker.join()
    show(table)
    seconds = time.monotonic() - since
    missing = sum(args.count - done[family] for family in args.families)
    print(f"{sum(done.values())} mutants ({missing} not judged), {sum(table.values())} outcomes, {len(faults)} faults, seed {args.seed}, "
          f"{seconds:.0f} s")
    for family, number, kind, said, command, end, why in sorted(faults):
        print(f"FAULT: {command} {end}: {kind} ({said}): {why[:500]}\n    again: {family} --seed {args.seed} --first {number} --count 1")
    # A search in which nothing is ever read as it should be sees nothing.
    blind = [family for family in args.families if args.count >= MANY and not any(
        table[key] for key in table if key[0] == family and key[3] in (RIGHT, UNHARMED))]
    if blind:
        print(f"no mutant of {', '.join(blind)} was read")
    return 1 if faults or missing or blind else 0


def show(table):
    """How often each command ended how, by what was damaged."""
    ends = FINE + sorted({end for *_, end in table} - set(FINE))
    widths = [max(9, len(end) + 2) for end in ends]
    print(f"{'':36}" + "".join(f"{end:>{width}}" for end, width in zip(ends, widths)))
    for family, kind, command in sorted({key[:3] for key in table}):
        counts = "".join(f"{table[family, kind, command, end]:>{width}}" for end, width in zip(ends, widths))
        print(f"{f'{family}: {kind}' if kind != family else family:28}{command:8}{counts}")


if __name__ == "__main__":
    sys.exit(main())
