"""How long the device waits for the host in a trace of training, in percent.

    python main.py --config ... --workdir runs/x "--config.log.profile_steps=(200,220)"
    python benchmarks/device_idle.py runs/x/profile

Counted is the time between the first and the last operation of the trace in which none runs on the device.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

from jax.profiler import ProfileData

Span = tuple[float, float]  # start, end


def idle_share(spans: Iterable[Span]) -> float:
    """Give the share of the time from the first start to the last end that no span covers.

    Example:
        >>> idle_share([(0, 2), (1, 3), (9, 10)])
        0.6
    """
    ordered = sorted(spans)
    busy, until = 0.0, ordered[0][0]
    for start, end in ordered:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return 1 - busy / (until - ordered[0][0])


def device_spans(trace: Path) -> list[Span]:
    """Read the operations of the first device out of a trace; on CPUs, where none is listed, those of XLA's threads."""
    planes = list(ProfileData.from_file(str(trace)).planes)
    device = [plane for plane in planes if plane.name.startswith(("/device:GPU", "/device:TPU"))]
    if device:
        lines = [x for x in device[0].lines if x.name.startswith("Stream") or x.name == "XLA Ops"]
    else:
        lines = [x for plane in planes for x in plane.lines if "XLA" in x.name]
    return [(e.start_ns, e.start_ns + e.duration_ns) for x in lines for e in x.events if e.duration_ns]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the trace was written")
    given = parser.parse_args()
    traces = sorted(given.folder.rglob("*.xplane.pb"))
    if not traces:
        parser.error(f"{given.folder} holds no trace (*.xplane.pb); train with --config.log.profile_steps.")
    spans = device_spans(traces[-1])
    if not spans:
        parser.error(f"{traces[-1]} lists no operation of a device.")
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    print(f"idle {100 * idle_share(spans):.1f} % of {1e-6 * (last - first):.1f} ms, {len(spans)} operations")


if __name__ == "__main__":
    main()
