"""The parts of models/training by themselves: settings, distillation, masks, batched decoding, CIDEr optimisation, the
order of examples.

Usage: training_parts_test.py    (exit code 77, skipped, without PyTorch, NumPy and Pillow)
"""

import sys
import unittest
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
try:
    import numpy as np
    import torch
    from torch import nn

    from models.reference.lightcap import Captioner, LightCap
    from models.reference.text import SPECIAL, WordPiece
    from models.training import distillation, fusion, loop, sampling
    from models.training.cider import CiderD, Frequencies
    from models.training.cider_task import CiderTask
    from models.training.config import CiderTraining, ConfigError, Masking, Schedule, load, updated
    from models.training.examples import hide
    from models.training.sources import lcw
    from models.training.stages import in_captions
    from tests.training_folder import DEMO, InFolder
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)


class Settings(InFolder):
    def test_errors_say_where(self):
        for text, pattern in (
            ('{"caption": {"schedule": {"step": 3}}}', "caption.schedule.step is unknown; known are batch"),
            ('{"caption": {"schedule": {"steps": "3"}}}', "caption.schedule.steps is '3': a int is wanted"),
            ('{"caption": {"schedule": {"batch": 0}}}', "caption.schedule: batch is 0: 1 or more is wanted"),
            ('{"cider": {"schedule": {"save_every": 0}}}', "cider.schedule: save_every is 0"),
            ('{"caption": {"schedule": {"log_every": 0}}}', "caption.schedule: log_every is 0"),
            ('{"encoder": {"schedule": {"steps": -5}}}', "encoder.schedule: steps is -5: 0 or more"),
            ('{"caption": {"distilled": {"teachers": [0, 1, 7]}}}',
             r"caption.distilled.teachers is \[0, 1, 7\]: teachers.count is 3"),
            ('{"teachers": {"count": 2}}', r"pretrain.distilled.teachers is \[0, 1, 2\]: teachers.count is 2"),
            ('{"pretrain": {"distilled": {"teachers": [0, 1, -1]}}}',
             r"pretrain.distilled: teachers is \[0, 1, -1\]: they are counted from 0"),
            ('{"pretrain": {"distilled": {"teachers": [0, 1, "2"]}}}', r"teachers\[2\] is '2': a int is wanted"),
            ('{"captions": ["coco"]}', r"captions\[0\] is 'coco': a dict is wanted"),
            ('{"concept_count": 0}', "concept_count is 0: 1 or more is wanted"),
            ('{"caption": 3}', "caption is 3: an object of settings is wanted"),
            ("{", "is not JSON"),
        ):
            with self.assertRaisesRegex(ConfigError, pattern):
                load(self.write("c.json", text))
        with self.assertRaisesRegex(ConfigError, "c.json: No such file"):
            load(self.folder / "gone/c.json")

    def test_one_setting_of_a_list(self):
        path = self.write("c.json", {"captions": [{"source": "coco", "images": "y"}]})
        for override in ("captions.0.images=x", "captions.images=x", "captions.0.images.y=x"):
            with self.assertRaisesRegex(ConfigError, f"--set {override}: captions.* is no object of settings"):
                load(path, [override])
        with self.assertRaisesRegex(ConfigError, "no object of settings"):
            load(self.write("list.json", []), ["initial_std=0.1"])
        self.assertEqual(load(path, ['captions=[{"source": "folder"}]']).captions, [{"source": "folder"}])

    def test_defaults_of_a_part_stay(self):
        config = load(self.write("c.json", {"cider": {"schedule": {"batch": 8}}}), ["caption.smoothing=0.2"])
        self.assertEqual((config.cider.schedule.rate, config.cider.schedule.batch), (3e-6, 8))
        self.assertEqual(config.caption.smoothing, 0.2)
        self.assertEqual(updated(config, {}, "x"), config)

    def test_rates(self):
        schedule = Schedule(steps=10, rate=1.0, warmup=2)
        self.assertEqual([loop.rate_at(schedule, step, 10) for step in (0, 1, 5)], [0.5, 0.9, 0.5])
        self.assertEqual(Schedule(epochs=2, batch=10).length(25), 5)
        with self.assertRaisesRegex(ConfigError, "make no step"):
            Schedule().length(100)

    def test_an_epoch_is_all_captions(self):
        """Two pictures, one of three captions and one of one, behind stage 1."""
        text = WordPiece([*SPECIAL, "a"])
        said, none = [text.special.cls, 5, text.special.sep], [text.special.pad] * 3
        captions = np.array([[said, said, said], [said, none, none]])
        examples = SimpleNamespace(features=SimpleNamespace(captions=captions), text=text, weights=np.ones(2))
        self.assertEqual(in_captions(Schedule(epochs=6, batch=2), examples).steps, 12)
        self.assertEqual(in_captions(Schedule(steps=5, batch=2), examples).steps, 5)


class Losses(unittest.TestCase):
    def setUp(self):
        state, self.config, vocabulary, labels = lcw.load_lcw(DEMO)
        self.model = LightCap(self.config)
        self.model.load_state_dict(state)
        self.text = WordPiece(vocabulary)
        self.model.eval()

    def inputs(self, concepts):
        torch.manual_seed(3)
        grid = torch.randn(len(concepts), 512, 5, 5).abs()
        return fusion.prefix_of(self.model, grid, torch.tensor(concepts), 0, self.text.special.sep)

    @torch.no_grad()
    def test_batched_decoding_is_the_references(self):
        concepts = [[9, 8, 3, 0], [9, 8, 7, 3], [9, 3, 0, 0], [3, 0, 0, 0]]
        for decode in ("mask", "causal"):
            self.config.fusion.decode = decode
            prefix, seen = self.inputs(concepts)
            said = sampling.generate(self.model, prefix, seen, self.text.special, sampling.best)
            captioner = Captioner(self.model, self.text, [])
            for row, tokens in enumerate(said.tolist()):
                alone = prefix[row : row + 1, seen[row]]
                expected = captioner.decode(alone)[0].tokens
                self.assertEqual(tokens[: len(expected)], expected)
                self.assertFalse(any(tokens[len(expected) :]))

    @torch.no_grad()
    def test_attention_to_the_caption(self):
        """Causal attention does not see what comes later, the other does; neither sees padding."""
        prefix, seen = self.inputs([[9, 3]])
        caption = torch.tensor([[2, 20, 30, 40, 0]])
        filled = caption != 0
        for attention, sees in (("causal", False), ("bidirectional", True)):
            states = [fusion.hidden_states(self.model, prefix, seen, ids, filled, attention, 4)[:, :4]
                      for ids in (caption, torch.tensor([[2, 20, 30, 41, 0]]),
                                  torch.tensor([[2, 20, 30, 40, 50]]))]  # fmt: skip
            self.assertEqual(torch.allclose(states[0][:, 1], states[1][:, 1], atol=1e-6), not sees)
            self.assertTrue(torch.allclose(states[0], states[2], atol=1e-6))

    def test_layers_of_twelve(self):
        self.assertEqual(distillation.layer_map(4, 12), [3, 6, 9, 12])
        self.assertEqual(distillation.layer_map(3, 4), [1, 3, 4])

    def test_a_student_that_is_its_teacher_loses_nothing(self):
        settings = distillation.Distilled(teachers=[1, 1, 1])
        teacher = LightCap(self.config)
        teacher.load_state_dict(self.model.state_dict())
        teaching = distillation.Teaching(self.model, [None, teacher, None], settings)
        for project in teaching.projections.modules():
            if isinstance(project, nn.Linear):
                nn.init.eye_(project.weight)
                nn.init.zeros_(project.bias)
        prefix, seen = self.inputs([[9, 3, 0], [9, 8, 3]])
        caption = torch.tensor([[2, 20, 30, 3], [2, 20, 3, 0]])
        filled = caption != 0
        for model in (self.model, teacher):
            fusion.hidden_states(model, prefix, seen, caption, filled, "bidirectional", 4)
        losses = teaching.deep_losses(torch.cat((seen, filled), 1))
        logits = torch.randn(3, 5, 269)
        losses |= teaching.token_losses(logits[[1, 1, 1]], [logits[1]])
        self.assertEqual({name: float(loss.detach()) for name, loss in losses.items()},
                         {"attention": 0.0, "hidden": 0.0, "tokens": 0.0})  # fmt: skip
        self.assertGreater(float(distillation.token_loss(logits[0], logits[1], 1.0)), 0)
        with self.assertRaisesRegex(ConfigError, "one for each of the 3 branches"):
            distillation.Teaching(self.model, [teacher], distillation.Distilled(teachers=[0]))

    def test_padding_attends_to_nothing_that_is_taught(self):
        torch.manual_seed(4)
        mine, theirs = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
        mine[:, :, :, 3], theirs[:, :, :, 3] = float("-inf"), float("-inf")  # nobody looks at the padded key
        seen = torch.tensor([[True] * 3 + [False]] * 2)
        loss = distillation.attention_loss(mine, theirs, seen)
        self.assertAlmostEqual(float(loss), float((mine - theirs)[:, :, :3, :3].pow(2).mean()), places=6)
        mine[:, :, 3, :3] = 100.0
        self.assertEqual(float(distillation.attention_loss(mine, theirs, seen)), float(loss))

    def test_captions_for_cider_are_made_without_dropout(self):
        grid, concepts = torch.randn(2, 512, 5, 5).abs(), torch.tensor([[9, 8, 3], [9, 3, 0]])
        examples = SimpleNamespace(text=self.text, weights=np.ones(2))
        world = loop.World(0, 1, torch.device("cpu"), False)
        said = []
        for dropout in (0.0, 0.9):
            settings = CiderTraining(schedule=Schedule(dropout=dropout))
            task = CiderTask(self.model, examples, world, settings, None)
            torch.manual_seed(6)
            said.append(task._captions(grid, concepts))
            self.assertTrue(task.module.training)
        for plain, dropped in zip(*said):
            self.assertTrue(torch.equal(plain, dropped))

    def test_both_baselines_teach_every_trained_block(self):
        references = ["a red balloon", "two blue cars"]
        features = SimpleNamespace(grid=lambda *_: torch.ones(2, 512, 5, 5))
        examples = SimpleNamespace(text=self.text, features=features, weights=np.ones(2),
                                   references=lambda row: [references[row]],
                                   concepts=lambda _: torch.tensor([[9, 8, 3], [9, 3, 0]]))  # fmt: skip
        world = loop.World(0, 1, torch.device("cpu"), True)
        for baseline in ("greedy", "others"):
            settings = CiderTraining(schedule=Schedule(dropout=0.1), baseline=baseline)
            scorer = CiderD(Frequencies.of([text] for text in references))
            task = CiderTask(self.model, examples, world, settings, scorer)
            self.model.zero_grad()
            task.losses(np.arange(2), np.random.default_rng(1))["cider"].backward()
            for name in ("modulator.fc1", "bert.encoder.layer.0.intermediate.dense", "head.branches.0.dense"):
                gradient = self.model.get_submodule(name).weight.grad
                self.assertGreater(float(gradient.abs().sum()), 0, f"{baseline} {name}")

    def test_masks(self):
        caption = torch.tensor([[2, *range(10, 29), 3, 0]] * 4000)
        changed, hidden = hide(caption, Masking(), self.text, np.random.default_rng(1))
        self.assertFalse(hidden[:, 0].any() or hidden[:, -1].any())
        self.assertTrue(hidden.any(1).all())
        self.assertTrue(torch.equal(changed[~hidden], caption[~hidden]))
        # 80,000 tokens, and one at least of each caption.
        self.assertAlmostEqual(float(hidden[:, 1:-1].float().mean()), 0.15 + 0.85**20 / 20, delta=0.005)
        fate = changed[hidden]
        self.assertAlmostEqual(float((fate == 4).float().mean()), 0.8, delta=0.02)
        self.assertAlmostEqual(float((fate == caption[hidden]).float().mean()), 0.1, delta=0.02)

    def test_order(self):
        order = loop.Order(np.ones(10), 4, 7)
        first = np.concatenate([order.rows(step) for step in range(5)])
        self.assertEqual(sorted(first[:10].tolist()), list(range(10)))
        self.assertEqual(sorted(first[10:].tolist()), list(range(10)))
        self.assertTrue(np.array_equal(loop.Order(np.ones(10), 4, 7).rows(3), order.rows(3)))
        often = loop.Order(np.array([1.0, 0, 3.0]), 1000, 7).rows(2)
        self.assertAlmostEqual((often == 2).mean(), 0.75, delta=0.05)
        self.assertFalse((often == 1).any())


if __name__ == "__main__":
    unittest.main()
