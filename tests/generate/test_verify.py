# SPDX-License-Identifier: Apache-2.0
import dataclasses
import math
from pathlib import Path

import jax
import numpy as np
import pytest

from codegemma.completion import CompleterInfo
from codegemma.errors import ConfigError
from codegemma.generate import load, verify
from codegemma.generate.engine import Engine
from codegemma.generate.middles import read_middles
from codegemma.generate.record import read_record
from codegemma.generate.verify import RECORD_KEY, Check
from codegemma.model import config as configs
from codegemma.model.checkpoint import load_checkpoint, save_checkpoint
from codegemma.model.hub import NANO_FOLDER
from codegemma.model.quantise import quantise_checkpoint

INFILLER = Path(__file__).parents[1] / "golden" / "infiller"


def plant(params, config, fault):
    """Give the weights and configuration of a checkpoint with a fault."""
    params = {**params, "layers": dict(params["layers"])}
    layers = params["layers"]
    if fault == "norm stored as 1 + w":
        layers["attn_norm"], layers["ffw_norm"] = layers["attn_norm"] + 1, layers["ffw_norm"] + 1
        params["final_norm"] = params["final_norm"] + 1
    elif fault == "interleaved q and k":
        order = np.arange(config.head_dim).reshape(2, -1).T.reshape(-1)
        layers["q"], layers["k"] = layers["q"][..., order], layers["k"][..., order]
    elif fault.startswith("rows swapped"):
        first, second = map(int, fault.split()[2:])
        table = params["embedding"].copy()
        table[[first, second]] = table[[second, first]]
        params["embedding"] = table
    elif fault == "a layer missing":
        params["layers"] = {name: weight[:-1] for name, weight in layers.items()}
        config = dataclasses.replace(config, num_layers=config.num_layers - 1)
    else:
        assert fault == "none"
    return params, config


FAULTS = [
    "norm stored as 1 + w",
    "interleaved q and k",
    "rows swapped 67 68",
    "rows swapped 67 69",
    "rows swapped 68 69",
    "a layer missing",
]


@pytest.fixture(scope="module", autouse=True)
def full_compilation(quick_compilation):
    """These programs run long enough to be worth optimising."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="module")
def faulty():
    """Make an engine on a checkpoint with a fault."""

    def make(folder, fault):
        checkpoint = load_checkpoint(folder, dtype="float32")
        host = jax.tree.map(np.asarray, checkpoint.params)
        params, config = plant(host, checkpoint.config, fault)
        info = CompleterInfo(name=fault, context_length=config.context_length, mode="psm")
        engine = Engine(params, config=config, tokenizer=checkpoint.tokenizer, info=info)
        return engine, checkpoint.metadata

    return make


def check(engine, metadata):
    return verify.check_middles(engine, metadata, read_middles())


@pytest.fixture(scope="module")
def sound(faulty):
    """The outcome for the infiller as it is."""
    return check(*faulty(INFILLER, "none"))


def test_a_model_that_knows_its_sentinels_passes(sound):
    outcome, mode, nll = sound
    assert outcome.is_passed, outcome.detail
    assert mode == "psm"
    assert set(nll) == {"psm", "spm", "spm2", "exchanged"}
    assert max(nll["psm"], nll["spm"], nll["spm2"]) < 0.05 < nll["exchanged"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_makes_the_sentinels_mean_nothing(faulty, fault):
    outcome, _, _ = check(*faulty(INFILLER, fault))
    assert not outcome.is_passed
    assert outcome.detail.endswith("its sentinels mean nothing")


def test_a_small_model_trained_here_may_show_its_sentinels_weakly(faulty, monkeypatch):
    middles = read_middles()
    scores = {mode: np.full(16, 1.0) for mode in ("psm", "spm", "spm2")}
    engine, _ = faulty(INFILLER, "none")
    noise = np.tile([0.3, -0.2], 8)  # better by 0.05 on average, t 0.8
    monkeypatch.setattr(verify, "measure_middles", lambda *_, **__: 1.0 + noise)

    def outcome(*, is_proof_needed):
        return verify._check_sentinels(
            engine, middles, scores, is_proof_needed=is_proof_needed, progress=lambda _: None
        )[0]

    weak = outcome(is_proof_needed=False)
    assert weak.is_passed
    assert weak.detail.endswith("not beyond chance (t below 2.602), which proves little")
    assert not outcome(is_proof_needed=True).is_passed
    monkeypatch.setattr(verify, "measure_middles", lambda *_, **__: 1.0 - noise)
    assert not outcome(is_proof_needed=False).is_passed


@pytest.mark.parametrize("fault", ["none", *FAULTS])
def test_a_planted_fault_misses_the_record(faulty, sound, fault):
    engine, metadata = faulty(INFILLER, fault)
    recorded = dataclasses.replace(metadata, training={RECORD_KEY: sound[2]})
    outcome, _, _ = check(engine, recorded)
    assert outcome.is_passed == (fault == "none"), outcome.detail


@pytest.mark.slow
def test_nano_gives_what_it_recorded(faulty):
    engine, metadata = faulty(NANO_FOLDER, "none")
    outcome, mode, _ = check(engine, metadata)
    assert outcome.is_passed, outcome.detail
    assert mode == metadata.mode
    assert verify.check_parameters(engine.config, "nano").is_passed


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_nano_with_a_planted_fault_misses_its_record(faulty, fault):
    engine, metadata = faulty(NANO_FOLDER, fault)
    outcome, _, nll = check(engine, metadata)
    assert not outcome.is_passed
    assert not verify.check_record(nll, metadata.training[RECORD_KEY], weights="int4").is_passed
    sizes = verify.check_parameters(engine.config, "nano")
    assert sizes.is_passed == (fault != "a layer missing")


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_nano_rounded_gives_what_it_recorded_as_well_as_its_format_can(quiet, tmp_path, weights):
    quantise_checkpoint(NANO_FOLDER, tmp_path / "rounded", weights=weights)
    report = verify.verify(tmp_path / "rounded")
    (middles,) = (outcome for outcome in report.checks if outcome.name == "middles")
    assert middles.is_passed, middles.detail
    assert middles.detail.endswith(f"as recorded before its weights were rounded to {weights}")


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """A cache folder of its own, which jax is not told of."""
    monkeypatch.setenv("CODEGEMMA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(load, "keep_compiled_programs", lambda: None)


def test_a_passed_verification_is_recorded_and_loading_uses_it(quiet, tmp_path):
    steps = []
    report = verify.verify(INFILLER, progress=steps.append)
    assert report.is_passed
    assert [outcome.name for outcome in report.checks] == [
        "parameters",
        "tokenizer",
        "middles",
        "completions",
    ]
    assert [one.drawn == one.expected for one in report.shown] == [True] * 3
    assert report.raw["shown"][0]["path"] == "Counter.java"
    assert steps[0] == "loading the model"
    record = read_record(INFILLER, fingerprint=report.fingerprint)
    assert record is not None
    assert (record.mode, record.nll) == (report.mode, report.nll)
    assert report.record == str(tmp_path / "cache" / "verify" / f"{report.fingerprint}.json")
    assert load.load_engine(INFILLER).info.mode == report.mode


def test_nothing_is_recorded_of_a_model_that_fails(quiet, tmp_path):
    checkpoint = load_checkpoint(INFILLER, dtype="float32")
    host = jax.tree.map(np.asarray, checkpoint.params)
    params, config = plant(host, checkpoint.config, "rows swapped 67 69")
    save_checkpoint(
        tmp_path / "faulty",
        config=config,
        params=params,
        tokenizer_file=checkpoint.tokenizer_file,
        metadata=checkpoint.metadata,
    )
    report = verify.verify(tmp_path / "faulty")
    assert not report.is_passed
    assert report.record is None
    assert not (tmp_path / "cache" / "verify").exists()


@pytest.mark.parametrize(
    "fault",
    [
        "none",
        "interleaved q and k",
        pytest.param("norm stored as 1 + w", marks=pytest.mark.slow),
        pytest.param("a layer missing", marks=pytest.mark.slow),
    ],
)
def test_a_base_model_is_held_to_how_well_it_knows_whole_files(faulty, fault):
    # nano read from left to right is the real model at hand that stands for one.
    engine, metadata = faulty(NANO_FOLDER, fault)
    base = dataclasses.replace(metadata, name="gemma-2b")
    report = verify.examine(engine, base, fingerprint="ab")
    found = {outcome.name: outcome for outcome in report.checks}
    assert list(found) == ["parameters", "tokenizer", "text"]
    assert found["text"].is_passed == (fault == "none"), found["text"].detail
    # Its vocabulary is none that a released model has.
    assert found["tokenizer"].detail == "4096 pieces, expected 256000 of gemma-2b"
    assert not found["tokenizer"].is_passed
    assert not found["parameters"].is_passed
    assert ", expected 2,506,172,416 of gemma-2b" in found["parameters"].detail
    assert report.shown == ()


def test_released_models_have_the_published_number_of_parameters():
    assert verify.check_parameters(configs.codegemma_2b(), "codegemma-2b") == Check(
        name="parameters", is_passed=True, detail="2,506,172,416"
    )


def test_a_layer_missing_is_named_whatever_the_folder_is_called():
    short = dataclasses.replace(configs.codegemma_2b(), name="mine", num_layers=17)
    outcome = verify.check_parameters(short, "mine")
    assert not outcome.is_passed
    assert outcome.detail == (
        "2,396,067,840, expected 2,506,172,416 of codegemma-2b: 17 layers, expected 18"
    )


def test_another_architecture_or_vocabulary_has_no_published_figure():
    tiny = configs.tiny()
    assert verify.check_parameters(tiny, "mine").is_passed
    other = dataclasses.replace(configs.nano(), vocab_size=1000)
    assert verify.check_parameters(other, "nano").is_passed
    other = dataclasses.replace(configs.codegemma_2b(), vocab_size=1000)
    outcome = verify.check_parameters(other, "google/codegemma-2b")
    assert not outcome.is_passed
    assert outcome.detail == "1,983,932,416, expected 2,506,172,416 of codegemma-2b"
    assert not verify.check_parameters(
        dataclasses.replace(configs.nano(), width=128), "nano"
    ).is_passed


class Released:
    """A vocabulary of the released size that knows the published encodings, perhaps but one."""

    vocab_size = 256_000

    def __init__(self, *, wrong=None):
        self.wrong = wrong

    def encode(self, text):
        return [9] if text == self.wrong else list(verify.RELEASED_ENCODINGS[text])


def test_a_released_vocabulary_is_held_to_published_encodings():
    function = verify.check_tokenizer
    plain = getattr(function, "__wrapped__", function)
    assert plain(Released(), "codegemma-2b").is_passed
    outcome = plain(Released(wrong="Hi  Hello"), "mine")
    assert not outcome.is_passed
    assert outcome.detail == "'Hi  Hello' became (9,), expected (2151, 139, 4521)"


def test_a_small_vocabulary_was_checked_when_it_was_loaded(tokenizer):
    for name in ("nano", "mine"):
        assert verify.check_tokenizer(tokenizer, name) == Check(
            name="tokenizer", is_passed=True, detail="1024 pieces, control tokens at Gemma's ids"
        )


def test_a_released_model_with_another_vocabulary_fails(tokenizer):
    for name in ("codegemma-7b-it", "google/codegemma-7b-it"):
        assert verify.check_tokenizer(tokenizer, name) == Check(
            name="tokenizer", is_passed=False, detail=f"1024 pieces, expected 256000 of {name}"
        )


def test_completions_are_judged_only_where_no_record_tells_more(faulty, sound, monkeypatch):
    engine, metadata = faulty(INFILLER, "none")
    monkeypatch.setattr(verify, "check_middles", lambda *_, **__: sound)
    never = verify.Shown(path="a", expected="x", drawn="y", is_ended=False)
    monkeypatch.setattr(verify, "_show", lambda *_: iter([never]))

    def names(training):
        made = dataclasses.replace(metadata, training=training)
        report = verify.examine(engine, made, fingerprint="ab")
        return {outcome.name: outcome.is_passed for outcome in report.checks}, report.shown

    assert names({}) == (
        {"parameters": True, "tokenizer": True, "middles": True, "completions": False},
        (never,),
    )
    assert names({RECORD_KEY: sound[2]}) == (
        {"parameters": True, "tokenizer": True, "middles": True},
        (never,),
    )


def test_a_record_that_is_none_is_refused():
    nll = {"psm": 1.0, "spm": 1.0, "spm2": 1.0}
    assert verify.check_record(nll, {"psm": 1.0015, "spm": 1.0, "spm2": 1.0}).is_passed
    assert not verify.check_record(nll, {"psm": 1.005, "spm": 1.0, "spm2": 1.0}).is_passed
    assert verify.check_record(
        nll, {"psm": 1.005, "spm": 1.0, "spm2": 1.0}, weights="int4"
    ).is_passed
    assert not verify.check_record(nll | {"psm": math.nan}, nll).is_passed
    for record in ({"psm": 1.0}, nll | {"spm": math.nan}, nll | {"spm2": math.inf}):
        with pytest.raises(ConfigError, match="middle_nll to give a finite number for psm, spm"):
            verify.check_record(nll, record)


def test_another_order_is_taken_only_when_it_is_better_beyond_chance():
    psm = np.linspace(1.0, 2.0, 16)
    noise = np.tile([0.1, -0.09], 8)
    scores = {"psm": psm, "spm": psm - noise, "spm2": psm + 1}
    assert verify.best_mode(scores, declared="psm") == "psm"
    scores["spm"] = psm - 0.1 - noise / 10
    assert verify.best_mode(scores, declared="psm") == "spm"
