from dataclasses import replace

import pandas as pd
import pytest
import torch

from protoquant.codebook.codebook import Codebook
from protoquant.core.artifacts import writing
from protoquant.core.errors import DataError
from protoquant.core.events import MessageEvent, ignore
from protoquant.head.config import TrainConfig
from protoquant.head.grounding.patch_choice import halves
from protoquant.head.prune_plan import PrunePlan
from protoquant.head.record import ABSENT
from protoquant.head.train import train
from protoquant.model.bundle import KIND, Bundle
from protoquant.model.head import head_logits
from protoquant.model.presence import presence
from protoquant.prune.apply import prune_bundle, prune_trained, pruning_sentence, starting_point
from protoquant.prune.engine import largest_class

pytestmark = pytest.mark.model

CPU = torch.device("cpu")
HALF = {"end": 0.4, "criterion": "magnitude"}


def run(plan: PrunePlan, bundle: Bundle, stores):
    return prune_bundle(plan, bundle, stores, device=CPU, on_event=ignore)


def tokens(stores, name: str = "validation") -> torch.Tensor:
    return stores[name].tokens(list(range(stores[name].n)))


def logits(bundle: Bundle, seen: torch.Tensor) -> torch.Tensor:
    return head_logits(presence(seen, bundle.codebook, bundle.temperature).scores, bundle.head)


def written(pruned, out) -> Bundle:
    with writing(out, KIND) as folder:
        pruned.bundle.save(folder, pd.DataFrame({"selected": [1]}), pruning=pruned.table)
    return Bundle.open(out)


def test_mask_leaves_codes_and_scores_alone(bundle, stores, tmp_path) -> None:
    pruned = run(PrunePlan(**HALF, finetune="none"), bundle, stores)
    opened = written(pruned, tmp_path / "out")
    assert torch.equal(opened.codebook.codes, bundle.codebook.codes)
    kept = opened.head > 0
    assert torch.equal(opened.head[kept], bundle.head[kept])
    assert len(opened.prototypes) == 7 - round(0.4 * 7)
    seen = tokens(stores)
    torch.testing.assert_close(logits(opened, seen), logits(replace(bundle, head=bundle.head * kept), seen))


def test_compact_is_what_a_fresh_codebook_of_the_survivors_gives(bundle, stores, tmp_path) -> None:
    """Codes, classes, scores and accuracies are recomputed from scratch here and must agree."""
    plan = PrunePlan(**HALF, semantics="compact", schedule="geometric", step=0.3)
    pruned = run(plan, bundle, stores)
    opened = written(pruned, tmp_path / "out")
    survivors = list(pruned.codes)
    fresh = Codebook(bundle.codebook.codes[survivors], bundle.codebook.norm)
    assert torch.equal(opened.codebook.codes, fresh.codes)
    for name, key in (("train", "train"), ("validation", "validation")):
        scores = presence(tokens(stores, name), fresh, bundle.temperature).scores
        mine = pruned.result.scored[name].scores[:, survivors]
        torch.testing.assert_close(mine, scores, atol=1e-6, rtol=0)
        top1 = float((head_logits(scores, opened.head).argmax(dim=1) == stores[name].labels).double().mean())
        assert opened.metrics[key]["top1"] == pytest.approx(top1, abs=1e-6)


def test_scores_rise_where_codes_leave(bundle, stores) -> None:
    pruned = run(PrunePlan(**HALF, semantics="compact", finetune="none"), bundle, stores)
    seen = tokens(stores)
    before = presence(seen, bundle.codebook, bundle.temperature).scores[:, list(pruned.codes)]
    after = presence(seen, pruned.bundle.codebook, bundle.temperature).scores
    assert bool((after >= before - 1e-6).all())
    assert pruned.table["changed"].iloc[0] == 0


def test_a_sink_of_all_removed_codes_predicts_as_the_masked_head(bundle, stores, tmp_path) -> None:
    keys = {**HALF, "finetune": "none"}
    masked = run(PrunePlan(**keys), bundle, stores).bundle
    opened = written(run(PrunePlan(**keys, semantics="sink", sink_codes=99), bundle, stores), tmp_path / "out")
    seen = tokens(stores)
    torch.testing.assert_close(logits(opened, seen), logits(masked, seen), atol=1e-5, rtol=1e-5)
    assert opened.codebook.k == 4
    assert opened.metrics["prune"]["rest_codes"] == 4  # three pruned, one that no class used
    assert opened.metrics["prune"]["mask_largest"] < 1e-5


def test_a_small_sink_is_nearer_to_the_mask_than_compact(bundle, stores) -> None:
    keys = {**HALF, "finetune": "none"}
    sink = run(PrunePlan(**keys, semantics="sink", sink_codes=2), bundle, stores).bundle.metrics["prune"]
    compact = run(PrunePlan(**keys, semantics="compact"), bundle, stores).bundle.metrics["prune"]
    assert 0 < sink["mask_mean"] < compact["mask_mean"]


def test_a_sink_is_not_pruned_again(bundle, stores) -> None:
    sink = run(PrunePlan(**HALF, semantics="sink", sink_codes=2), bundle, stores).bundle
    with pytest.raises(DataError, match="pruned to a sink already; prune the bundle it came from"):
        run(PrunePlan(**HALF), sink, stores)


@pytest.mark.parametrize("semantics", ["mask", "compact"])
def test_provenance_follows_the_codes(path, stores, semantics, tmp_path) -> None:
    bundle = Bundle.open(path)
    pruned = run(PrunePlan(end=0.4, semantics=semantics), bundle, stores)
    opened = written(pruned, tmp_path / "out")
    for prototype in opened.prototypes.tolist():
        old = pruned.codes[prototype]
        was = bundle.provenance[bundle.provenance["code"] == old].drop(columns="code").reset_index(drop=True)
        now = opened.provenance[opened.provenance["code"] == prototype].drop(columns="code").reset_index(drop=True)
        pd.testing.assert_frame_equal(was, now)


def test_classes_of_codes_follow_too(bundle, stores) -> None:
    of_code = tuple(range(8))
    labelled = replace(bundle, codebook=replace(bundle.codebook, class_of_code=of_code))
    pruned = run(PrunePlan(**HALF, semantics="compact"), labelled, stores)
    assert pruned.bundle.codebook.class_of_code == pruned.codes


def test_the_table_tells_every_step(bundle, stores, tmp_path) -> None:
    pruned = run(PrunePlan(**HALF, schedule="constant", step=0.2), bundle, stores)
    written(pruned, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "pruning.csv")
    assert table["left"].tolist() == [7, 6, 4]
    assert table["ratio"].tolist() == pytest.approx([0, 1 / 7, 3 / 7])
    assert table["selected"].tolist() == [0, 0, 1]
    assert {"prototypes", "nonzeros", "class_size", "local_size", "top1_before", "validation_top1", "work"} <= set(
        table
    )
    assert table["validation_top1"].iloc[-1] == pytest.approx(pruned.bundle.metrics["validation"]["top1"], abs=1e-6)
    assert pruned.bundle.params["prune"]["step"] == 0.2


def test_without_a_penalty_the_plan_must_give_one(bundle, stores) -> None:
    bare = replace(bundle, metrics={})
    with pytest.raises(DataError, match="give the plan's penalty"):
        run(PrunePlan(**HALF), bare, stores)
    run(PrunePlan(**HALF, penalty=0.01), bare, stores)
    run(PrunePlan(**HALF, finetune="none"), bare, stores)


@pytest.mark.parametrize(
    ("solver", "penalties"),
    [
        ({"solver": "proximal", "budget": None, "refit": 0.5}, (0.1, 0.0)),
        ({"solver": "budget", "budget": {}, "refit": 0.5}, (0.0, 0.1)),
        ({"solver": "gradient", "budget": None, "gradient": {}, "refit": 0.5}, (0.2, 0.0)),
    ],
)
def test_the_head_is_fitted_again_under_the_penalty_it_was_last_fitted_with(bundle, stores, solver, penalties) -> None:
    """L1 with the proximal solver and by gradient, which fits once; L2 with budgets. A plan's penalty is L1."""
    params = {"train": {**bundle.params["train"], "gradient": None, **solver}}
    mine = replace(bundle, params=params, metrics={**bundle.metrics, "penalty": 0.2})
    start = starting_point(PrunePlan(**HALF), mine, stores, device=CPU, on_event=ignore)
    assert (start.penalty, start.ridge) == pytest.approx(penalties)
    given = starting_point(PrunePlan(**HALF, penalty=0.03), mine, stores, device=CPU, on_event=ignore)
    assert (given.penalty, given.ridge) == (0.03, 0.0)
    pruned = run(PrunePlan(**HALF), mine, stores).bundle
    scores = presence(tokens(stores, "train"), pruned.codebook, pruned.temperature).scores
    loss = torch.nn.functional.cross_entropy(head_logits(scores, pruned.head), stores["train"].labels)
    whole = (pruned.head.sum(), pruned.head.square().sum() / 2)[penalties[1] > 0]
    assert pruned.metrics["objective"] == pytest.approx(float(loss + 0.2 / 3 * whole), abs=1e-5)


def test_images_that_chose_patches_measure_nothing(bundle, stores) -> None:
    train_params = {**bundle.params["train"], "grounding": "chosen", "grounding_patches": 4}
    chosen = replace(bundle, params={"train": train_params})
    plan = PrunePlan(**HALF, finetune="none")
    all_images = starting_point(plan, bundle, stores, device=CPU, on_event=ignore)
    others = starting_point(plan, chosen, stores, device=CPU, on_event=ignore)
    every = torch.arange(bundle.codebook.k)
    measuring = halves(stores["validation"].labels)[1]
    whole, part = all_images.rescore(every, None), others.rescore(every, None)
    assert torch.equal(part["validation"].scores, whole["validation"].scores[measuring])
    assert torch.equal(part["validation"].labels, stores["validation"].labels[measuring])
    assert torch.equal(part["train"].scores, whole["train"].scores)


def test_train_prunes_by_its_own_plan(path, features, images, codebook, tmp_path) -> None:
    """A plan in train gives what the plan on the trained bundle gives."""
    plan = PrunePlan(unit="class_budget", criterion="magnitude", budget=1, semantics="compact")
    config = TrainConfig.model_validate(
        {**ABSENT, **Bundle.open(path).params["train"], "temperature": 0.1, "prune": plan}
    )
    out, events = tmp_path / "pruned", []
    arguments = {"images": images, "root": tmp_path, "features": features, "codebook": codebook, "out": out}
    with pytest.raises(ValueError, match=r"train\.prune needs what carries it out"):
        train(config, **arguments, device=CPU, seed=0, on_event=ignore)
    train(config, **arguments, device=CPU, seed=0, on_event=events.append, prune=prune_trained)
    opened = Bundle.open(out)
    assert opened.metrics["class_size"] <= 1
    assert opened.codebook.k == opened.metrics["prune"]["softmax_codes"] <= 3
    assert (out / "pruning.csv").is_file()
    for prototype in opened.prototypes.tolist():
        assert opened.crop(prototype, 0) is not None
    assert events[-1].text == pruning_sentence(opened.metrics)
    assert "of predictions differ" in events[-1].text
    from protoquant.features.store.store import FeatureStore

    stores = {name: FeatureStore.open(features / name) for name in ("train", "validation")}
    again = run(plan, Bundle.open(path), stores)
    assert torch.equal(again.bundle.head, opened.head)
    assert torch.equal(again.bundle.codebook.codes, opened.codebook.codes)


def test_train_keeps_a_head_that_is_within_the_budget_already(path, features, images, codebook, tmp_path) -> None:
    """A plan without anything to remove gives what no plan gives, says so in one line, and loses no run."""
    most = largest_class(Bundle.open(path).head)
    plan = PrunePlan(unit="class_budget", criterion="magnitude", budget=most, semantics="compact")
    config = TrainConfig.model_validate(
        {**ABSENT, **Bundle.open(path).params["train"], "temperature": 0.1, "prune": plan}
    )
    out, events = tmp_path / "kept", []
    arguments = {"images": images, "root": tmp_path, "features": features, "codebook": codebook, "out": out}
    train(config, **arguments, device=CPU, seed=0, on_event=events.append, prune=prune_trained)
    assert events[-1] == MessageEvent(
        f"not pruned: train.prune.budget is {most}, and no class has more than {most} weights; lower it to prune"
    )
    opened = Bundle.open(out)
    assert torch.equal(opened.head, Bundle.open(path).head)
    assert "prune" not in opened.metrics
    assert not (out / "pruning.csv").exists()


def test_a_head_without_weights_is_still_refused(bundle, stores) -> None:
    empty = replace(bundle, head=torch.zeros_like(bundle.head))
    with pytest.raises(DataError, match="the head has no weight"):
        prune_trained(PrunePlan.top_k(2), empty, stores, device=CPU, on_event=ignore)
