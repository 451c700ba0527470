"""Train or evaluate EffNet.

  python main.py --config configs/demo.py --workdir runs/demo
  python main.py --config configs/chair_v1.py --workdir runs/chairs --config.data.dir=/data/qmul_chair_v1
  python main.py --config configs/demo.py --workdir runs/demo --mode=evaluate
  python main.py --mode=evaluate --embeddings other_system.npz --workdir runs/other
  python main.py --config configs/demo.py --workdir /shared/demo --distributed   (on each host; docs/pods.md)

Every field of a configuration can be overridden by --config.section.field=value; effnet_jax/config.py lists them
with their units. Starting the same command again goes on where a stopped run left off.
"""

import sys
from typing import Any

from absl import app, flags, logging
from ml_collections import config_flags

from effnet_jax.cli import cluster
from effnet_jax.cli.parsing import USAGE, parse, say
from effnet_jax.data.builders import register_builders
from effnet_jax.runtime.memory import out_of_memory

_CONFIG = config_flags.DEFINE_config_file("config", None, "A file of configs/, e.g. configs/demo.py.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run: checkpoints, metrics, pictures.")
_MODE = flags.DEFINE_enum("mode", "train", ["train", "evaluate"], "Train and then evaluate, or evaluate only.")
_EMBEDDINGS = flags.DEFINE_string(
    "embeddings", None, "Rank the embeddings in this .npz, made by any system, instead of training a run; of --config "
    "only eval.ks and eval.photo_to_sketch count.",
)  # fmt: skip
flags.adopt_module_key_flags(cluster)  # --distributed, --coordinator, --num_processes, --process_id
FAILED, INTERRUPTED = 1, 130  # exit status
register_builders("tfds_builders")  # those of this checkout, whatever is installed; processes that we start do it too


def main(argv: list[str]) -> None:
    """Turn flags into a run."""
    if len(argv) > 1:
        sys.exit(say(f"unknown arguments {' '.join(argv[1:])}; see python main.py --help.", USAGE))
    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # orbax and jax tell a lot at the default
    from effnet_jax import run
    from effnet_jax.training.loop import InterruptedRun
    from effnet_jax.training.writers import DivergedError

    try:
        cluster.join()
        if _EMBEDDINGS.value:
            config = None if _CONFIG.value is None else _config()
            run.evaluate_file(_EMBEDDINGS.value, _WORKDIR.value, config)
        else:
            (run.train if _MODE.value == "train" else run.evaluate)(*_config_and_workdir())
    except InterruptedRun as stopped:
        sys.exit(say(str(stopped) if cluster.is_first() else "", INTERRUPTED))
    except KeyboardInterrupt:  # while data are built or a report is written; training saves first
        cluster.leave(say("interrupted; the same command goes on.", INTERRUPTED))
    except (ValueError, OSError, DivergedError) as error:  # ConfigError, DataError, WeightsError are ValueErrors
        cluster.leave(say(cluster.signed(error), FAILED))
    except RuntimeError as error:
        if not (sentence := out_of_memory(error)):
            raise
        cluster.leave(say(cluster.signed(RuntimeError(sentence)), FAILED))


def _config_and_workdir() -> tuple[dict[str, Any], str]:
    if _CONFIG.value is None or not _WORKDIR.value:
        sys.exit(say("both --config and --workdir are needed; see python main.py --help.", USAGE))
    return _config(), _WORKDIR.value


def _config() -> dict[str, Any]:
    try:
        return _CONFIG.value.to_dict()  # a file that could not be loaded says so here
    except OSError as error:
        sys.exit(say(f"--config: {str(error).splitlines()[-1].strip()}; the files are in configs/.", USAGE))


if __name__ == "__main__":
    app.run(main, flags_parser=parse)
