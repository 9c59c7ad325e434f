"""bench/compare.py and bench/instructions.py: what they call a regression.

Usage: compare_test.py    (standard library only)
"""

import contextlib
import io
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "bench"))

import compare  # noqa: E402
import instructions  # noqa: E402


def benchmarks(**times):
    """A run as Google Benchmark writes it: each name's times in nanoseconds, repetition by repetition."""
    return {"context": {}, "benchmarks": [
        {"name": name, "run_name": name, "run_type": "iteration", "cpu_time": time, "real_time": 1000,
         "time_unit": "ns"} for name, repeated in times.items() for time in repeated]}


def profile(us):
    layer = {"stage": "detector", "name": "a", "kernel": "gemm", "height": 4, "width": 1, "out": 8,
             "median_us": us, "flops": 1, "bytes": 1, "calls": 1}
    return {"isa": "sse2", "peak_gflop_s": 1, "peak_gb_s": 1, "layers": [layer]}


class Compare(unittest.TestCase):
    def compare(self, old, new, *options):
        """Exit code, stdout."""
        with tempfile.TemporaryDirectory() as folder:
            paths = [str(Path(folder, name)) for name in ("old.json", "new.json")]
            for path, run in zip(paths, (old, new)):
                Path(path).write_text(json.dumps(run))
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = compare.main([*paths, *options])
            return code, out.getvalue()

    def test_the_same_is_no_regression(self):
        run = benchmarks(a=[100, 101, 99], b=[5, 5, 5])
        self.assertEqual(self.compare(run, run)[0], 0)

    def test_slower_beyond_the_threshold(self):
        old, new = benchmarks(a=[100], b=[50]), benchmarks(a=[112], b=[50])
        code, out = self.compare(old, new)
        self.assertEqual(code, 1)
        self.assertRegex(out, r"SLOWER +1\.120 .* a\n")
        self.assertNotIn(" b\n", out)
        self.assertEqual(self.compare(old, new, "--threshold", "0.15")[0], 0)

    def test_faster_is_told_and_is_no_regression(self):
        code, out = self.compare(benchmarks(a=[100]), benchmarks(a=[50]))
        self.assertEqual(code, 0)
        self.assertRegex(out, r"faster +0\.500 .* a\n")

    def test_medians_decide_not_outliers(self):
        self.assertEqual(self.compare(benchmarks(a=[100] * 3), benchmarks(a=[100, 100, 900]))[0], 0)
        self.assertEqual(self.compare(benchmarks(a=[100] * 3), benchmarks(a=[100, 150, 150]))[0], 1)

    def test_aggregates_alone_will_do(self):
        def run(median):
            return {"benchmarks": [
                {"name": f"a_{kind}", "run_name": "a", "run_type": "aggregate", "aggregate_name": kind,
                 "cpu_time": time, "real_time": time, "time_unit": "us"}
                for kind, time in (("mean", 1000), ("median", median), ("stddev", 3))]}
        self.assertEqual(self.compare(run(10), run(10.5))[0], 0)
        self.assertEqual(self.compare(run(10), run(12))[0], 1)

    def test_the_clock_may_be_chosen(self):
        old, new = benchmarks(a=[100]), benchmarks(a=[200])
        self.assertEqual(self.compare(old, new, "--time", "real_time")[0], 0)

    def test_what_is_gone_is_told(self):
        code, out = self.compare(benchmarks(a=[1], b=[1]), benchmarks(a=[1]))
        self.assertEqual(code, 0)
        self.assertIn("MISSING  b\n", out)
        self.assertNotIn("MISSING", self.compare(benchmarks(a=[1]), benchmarks(a=[1], b=[1]))[1])

    def test_nothing_to_compare(self):
        self.assertEqual(self.compare(benchmarks(a=[1]), benchmarks(b=[1]))[0], 2)
        self.assertEqual(self.compare({"other": 1}, benchmarks(a=[1]))[0], 2)

    def test_profiles(self):
        self.assertEqual(self.compare(profile(10), profile(10.9))[0], 0)
        code, out = self.compare(profile(10), profile(12))
        self.assertEqual(code, 1)
        self.assertIn("detector/a/gemm/4x1x8", out)


class Instructions(unittest.TestCase):
    def compare(self, kept, counts):
        """How many are wrong, stdout."""
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            return instructions.compare(kept, counts), out.getvalue()

    def test_two_per_cent_are_allowed(self):
        self.assertEqual(self.compare({"a": 1000, "b": 7}, {"a": 1020, "b": 7}), (0, ""))

    def test_more_is_wrong_and_less_is_told(self):
        wrong, out = self.compare({"a": 1000, "b": 1000}, {"a": 1021, "b": 900})
        self.assertEqual(wrong, 1)
        self.assertRegex(out, r"MORE  1\.021  1000 -> 1021  a\nless  0\.900")

    def test_no_kernel_comes_or_goes_unseen(self):
        wrong, out = self.compare({"a": 1}, {"b": 1})
        self.assertEqual((wrong, out), (2, "GONE  a\nNEW  b\n"))


if __name__ == "__main__":
    unittest.main()
