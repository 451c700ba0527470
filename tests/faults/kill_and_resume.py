"""Kill training runs with -9 at random moments, during saves too, resume each, and compare with the unbroken run.

  python tests/faults/kill_and_resume.py --kills 20

Each run must go on from the newest checkpoint that was whole when it was killed, and end bit-equal to the unbroken one.
Runs are forked from a process that has everything imported and has not touched a device: a start then takes seconds.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
os.environ["JAX_PLATFORMS"] = "cpu"

import jax  # noqa: E402
import orbax.checkpoint as ocp  # noqa: E402
from commands import losses, saved_steps, settings_of, train_here  # noqa: E402
from tiny import write_pairs  # noqa: E402

from effnet_jax import run  # noqa: E402

STEPS, EVERY = 40, 4  # steps of a run, steps between checkpoints
TEMPORARY = "orbax-checkpoint-tmp"  # in the name of a folder while orbax writes it


def train_in_child(home: Path, workdir: Path, settings: dict) -> int:
    """Fork a process that trains to the end; writes the step it started from and a hash of what it ended with."""
    if child := os.fork():
        return child
    status = 1
    try:
        with (home / "output.txt").open("a") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        jax.config.update("jax_compilation_cache_dir", str(home / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        original = run.first_or_latest_state

        def noting_the_step(*arguments):
            state = original(*arguments)
            (workdir / "started_from").write_text(str(int(state.step)))
            return state

        run.first_or_latest_state = noting_the_step
        train_here(workdir, settings)
        (workdir / "digest").write_text(digest(workdir / "checkpoints" / str(STEPS)))
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def digest(checkpoint: Path) -> str:
    """Hash all arrays of a checkpoint, with their names."""
    with ocp.StandardCheckpointer() as checkpointer:
        leaves = jax.tree.leaves_with_path(checkpointer.restore(checkpoint / "state"))
    found = hashlib.sha256()
    for path, leaf in leaves:
        found.update(f"{jax.tree_util.keystr(path)} {leaf.dtype} {leaf.shape}".encode())
        found.update(jax.device_get(leaf).tobytes())
    return found.hexdigest()


def kill(child: int, workdir: Path, chosen: random.Random, duration: float) -> None:
    """Kill at a random moment of a run: every other time while a checkpoint is being written."""
    if chosen.random() < 0.5:
        saves, watched = chosen.randrange(1, STEPS // EVERY), set()
        while len(watched) < saves and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            watched |= {path.name for path in workdir.glob(f"checkpoints/*{TEMPORARY}")}
            time.sleep(0.0005)
        time.sleep(chosen.uniform(0, 0.03))
    else:
        end = time.monotonic() + chosen.uniform(0, duration)
        while time.monotonic() < end:
            time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def main() -> int:
    """Print a line a run and how many were right; the status is 0 where all were."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="runs that are killed")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    chosen, right, during_save = random.Random(options.seed), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        data = write_pairs(home / "data", range(24), range(24, 38))
        settings = settings_of(
            data, home, train__epochs=STEPS * 8 / 36, train__checkpoint_every_steps=EVERY, train__keep_checkpoints=2
        )
        for attempt in ("compiling", "unbroken"):  # the second takes as long as those that are killed
            started = time.monotonic()
            _, status = os.waitpid(train_in_child(home, home / attempt, settings), 0)
            duration = time.monotonic() - started
            if status:
                sys.exit((home / "output.txt").read_text()[-3000:])
        wanted, all_losses = (home / "unbroken" / "digest").read_text(), losses(home / "unbroken")
        print(f"unbroken: {STEPS} steps, a checkpoint every {EVERY}, {duration:.1f} s", flush=True)
        for number in range(1, options.kills + 1):
            workdir = home / f"killed_{number}"
            kill(train_in_child(home, workdir, settings), workdir, chosen, duration)
            logged = max(losses(workdir), default=0)
            whole = max(saved_steps(workdir), default=0)
            saving = any(workdir.glob(f"checkpoints/*{TEMPORARY}"))
            _, status = os.waitpid(train_in_child(home, workdir, settings), 0)
            resumed = int((workdir / "started_from").read_text()) if status == 0 else None
            equal = status == 0 and (workdir / "digest").read_text() == wanted
            # a save waits for the one before, so at most two intervals are not on disk yet
            fine = equal and resumed == whole and logged - whole <= 2 * EVERY and losses(workdir) == all_losses
            right, during_save = right + fine, during_save + saving
            print(
                f"{number}: killed after step {logged}{' during a save' if saving else ''}, newest checkpoint {whole}, "
                f"resumed from {resumed}, {'bit-equal' if equal else 'NOT EQUAL'}{'' if fine else '  WRONG'}",
                flush=True,
            )
            if status:
                print((home / "output.txt").read_text()[-3000:])
            shutil.rmtree(workdir)
    print(json.dumps({"kills": options.kills, "during a save": during_save, "right": right}))
    return 0 if right == options.kills else 1


if __name__ == "__main__":
    sys.exit(main())
