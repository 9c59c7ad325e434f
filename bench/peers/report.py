"""From every round's times to a table: medians, and how the best peer compares with LightCap."""

from __future__ import annotations

from statistics import median
from typing import Any

BLOCKS = ("image_encoder", "detector", "fusion_prefix", "step", "head")
PEERS = ("onnxruntime", "openvino", "ncnn", "pytorch")
INT8_PEERS = ("onnxruntime int8", "openvino int8")
OWN_FP32 = "lightcap fp32"  # beside our int8
Times = dict[str, dict[str, dict[str, list[float]]]]  # [threads][block][engine]: rounds' ms


def compare(engines: dict[str, list[float]]) -> dict[str, Any]:
    """The peer whose median is lowest, and its time over ours, round by round."""
    medians = {engine: median(ms) for engine, ms in engines.items()}
    row: dict[str, Any] = {"ms": medians}
    peers = [engine for engine in medians if engine in PEERS + INT8_PEERS]
    if peers:
        best = min(peers, key=medians.__getitem__)
        ratios = [p / o for p, o in zip(engines[best], engines["lightcap"], strict=True)]
        row |= {"best": best, "ratio": median(ratios), "spread": [min(ratios), max(ratios)]}
    return row


def blocks_of_caption(engine: dict[str, float], steps: int) -> float:
    per_step = engine["step"] + engine["head"]
    return sum(engine[block] for block in BLOCKS[:3]) + steps * per_step


def compare_captions(blocks: dict[str, dict[str, list[float]]], steps: int) -> dict[str, Any]:
    """Our whole caption and the sum of our blocks, against the peers' best blocks together."""
    if any("best" not in compare(blocks[block]) for block in BLOCKS):
        return {}
    best = {block: compare(blocks[block])["best"] for block in BLOCKS}
    rounds = range(len(blocks["caption"]["lightcap"]))

    def sums(engine_of: dict[str, str]) -> list[float]:
        return [
            blocks_of_caption({b: blocks[b][engine_of[b]][i] for b in BLOCKS}, steps)
            for i in rounds
        ]

    theirs, ours = sums(best), sums(dict.fromkeys(BLOCKS, "lightcap"))
    whole = blocks["caption"]["lightcap"]
    ratios = [t / w for t, w in zip(theirs, whole)]
    result = {
        "lightcap_whole": median(whole),
        "lightcap_blocks": median(ours),
        "best_peers_blocks": median(theirs),
        "best": best,
        "ratio": median(ratios),
        "spread": [min(ratios), max(ratios)],
        "ratio_blocks": median(t / o for t, o in zip(theirs, ours)),
        "one_peer_blocks": {},
    }
    fp32 = blocks["caption"].get(OWN_FP32)
    if fp32:
        result["own_fp32_whole"] = median(fp32)
        result["ratio_to_own_fp32"] = median(f / w for f, w in zip(fp32, whole, strict=True))
    for peer in PEERS + INT8_PEERS:
        if all(peer in blocks[block] for block in BLOCKS):
            result["one_peer_blocks"][peer] = median(sums(dict.fromkeys(BLOCKS, peer)))
    return result


def summary(times: Times, steps: int) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for threads, blocks in times.items():
        result[threads] = {block: compare(blocks[block]) for block in BLOCKS}
        result[threads]["caption"] = compare_captions(blocks, steps)
    return result


def markdown(result: dict[str, Any]) -> str:
    shapes = result["shapes"]
    columns = [e for e in (OWN_FP32, *PEERS, *INT8_PEERS) if e in result["engines"]]
    lines = [
        f"{result['machine']['processor']}, {result['machine']['cores']} cores; "
        f"{result['precision']}; "
        + ", ".join(f"{k} {v}" for k, v in result["versions"].items()),
        "",
        f"Milliseconds: medians of {result['rounds']} rounds of {result['repeat']} runs. The ratio "
        "is the best peer's time over LightCap's: above 1, LightCap is faster.",
        "",
        "| threads | block | lightcap | "
        + " | ".join(columns)
        + " | best peer / lightcap | spread |",
        "|" + "---|" * (5 + len(columns)),
    ]
    for threads, blocks in result["summary"].items():
        for block in BLOCKS:
            row = blocks[block]
            cells = [f"{row['ms'][e]:.3f}" if e in row["ms"] else "-" for e in columns]
            ratio = [f"**{row['ratio']:.2f}** ({row['best']})"] if "ratio" in row else ["-"]
            spread = "{:.2f} to {:.2f}".format(*row["spread"]) if "spread" in row else "-"
            ours = f"{row['ms']['lightcap']:.3f}"
            lines.append(f"| {' | '.join([threads, block, ours, *cells, *ratio, spread])} |")
    for threads, blocks in result["summary"].items():
        caption = blocks["caption"]
        if not caption:
            continue
        single = ", ".join(f"{k} {v:.1f}" for k, v in caption["one_peer_blocks"].items())
        lines += [
            "",
            f"A caption of {shapes['steps']} steps, {threads} thread(s): LightCap "
            f"{caption['lightcap_whole']:.1f} ms with everything that users get (reading the "
            f"picture, NMS, concepts, words), its five blocks {caption['lightcap_blocks']:.1f} ms; "
            f"the best peers' blocks together {caption['best_peers_blocks']:.1f} ms: "
            f"**{caption['ratio']:.2f}** of the whole caption ({caption['spread'][0]:.2f} to "
            f"{caption['spread'][1]:.2f}), {caption['ratio_blocks']:.2f} of the blocks. "
            f"One peer for all: {single}.",
        ]
        if "own_fp32_whole" in caption:
            lines[-1] += (
                f" LightCap in fp32 takes {caption['own_fp32_whole']:.1f} ms, "
                f"{caption['ratio_to_own_fp32']:.2f} times as long."
            )
    return "\n".join(lines + check_lines(result)) + "\n"


def check_lines(result: dict[str, Any]) -> list[str]:
    """How near results were to the reference's, and what was left out."""
    found = [
        (who, block, check)
        for who, checks in result["checks"].items()
        for block, check in checks.items()
    ]
    good = [check for _, _, check in found if check["ok"]]
    lines: list[str] = []
    if differences := [check["relative"] for check in good if "relative" in check]:
        worst = format(max(differences), ".1e")
        lines += ["", f"Largest difference from models/reference, relative to the result: {worst}."]
    if ratios := [check["ratio"] for check in good if "ratio" in check]:
        lines += ["", f"Lowest signal-to-noise ratio against models/reference: {min(ratios):.1f} dB."]
    if "own_ratio" in result:
        lines[-1] += f" LightCap's features in int8 against its own in fp32: {result['own_ratio']:.1f} dB."

    def trouble(check: dict[str, Any]) -> str:
        if "error" in check:
            return check["error"]
        if "ratio" in check:
            return f"a ratio of {check['ratio']:.1f} dB"
        return f"a difference of {check['relative']:.1e}"

    wrong = [f"- {who}, {block}: {trouble(check)}" for who, block, check in found if not check["ok"]]
    return lines + (["", "Left out (peer and threads):", *wrong] if wrong else [])
