# SPDX-License-Identifier: Apache-2.0
import threading

import jax
import numpy as np
import pytest

from codegemma.completion import Completer, Prompt, Sampling, SourceFile, Turn
from codegemma.errors import ContextLengthError, InputError
from codegemma.generate import programs
from codegemma.generate.engine import Engine
from codegemma.generate.load import load_engine
from codegemma.model.cache import BFLOAT16_BITS
from codegemma.text.fim import render_prompt

PREFIXES = [
    "",
    "x",
    "def f(x):\n    ",
    "import ",
    "class A:\n    def",
    "return self.",
    "# ",
    "a = b",
]
DRAWN = Sampling(max_tokens=24, temperature=1.0, seed=3)


def prompt_of(prefix, suffix="\n"):
    return Prompt(prefix=prefix, suffix=suffix)


@pytest.fixture(scope="module")
def batch(engine):
    """Eight prompts of unlike length, drawn together."""
    sampling = Sampling(max_tokens=24, temperature=1.0, seed=3, logprobs=0)
    return [found[0] for found in engine.complete([prompt_of(p) for p in PREFIXES], sampling)]


def test_the_engine_is_a_completer(engine):
    assert isinstance(engine, Completer)


def test_cached_steps_give_the_logprobs_of_a_full_forward_pass(engine, full_logits, batch):
    prompts = [render_prompt(engine.tokenizer, prompt_of(p), mode="psm") for p in PREFIXES]
    rows = [[*prompt, *drawn.tokens] for prompt, drawn in zip(prompts, batch, strict=True)]
    logprobs = jax.nn.log_softmax(full_logits(rows), axis=-1)
    assert sum(len(drawn.tokens) for drawn in batch) > 60
    for index, (prompt, drawn) in enumerate(zip(prompts, batch, strict=True)):
        places = np.arange(len(prompt) - 1, len(prompt) - 1 + len(drawn.tokens))
        expected = logprobs[index, places, list(drawn.tokens)]
        np.testing.assert_allclose([t.logprob for t in drawn.logprobs], expected, atol=1e-4)


def test_greedy_takes_the_likeliest_token_of_a_full_forward_pass(engine, full_logits):
    sampling = Sampling(max_tokens=24, logprobs=3)
    drawn = engine.complete([prompt_of("return self.")], sampling)[0][0]
    prompt = render_prompt(engine.tokenizer, prompt_of("return self."), mode="psm")
    logits = full_logits([[*prompt, *drawn.tokens]])[0]
    places = np.arange(len(prompt) - 1, len(prompt) - 1 + len(drawn.tokens))
    assert list(drawn.tokens) == logits[places].argmax(-1).tolist()
    assert len(set(drawn.tokens)) > 5
    top = [[token for token, _ in entry.top] for entry in drawn.logprobs]
    assert top == np.argsort(-logits[places], axis=-1)[:, :3].tolist()
    assert all(entry.top[0] == (entry.token, entry.logprob) for entry in drawn.logprobs)


def test_a_prompt_gives_the_same_text_alone_and_in_a_batch(engine, batch):
    for prefix, together in zip(PREFIXES[:3], batch, strict=False):
        alone = engine.complete([prompt_of(prefix)], DRAWN)[0][0]
        assert alone.tokens == together.tokens
        assert alone.text == together.text


def test_the_first_of_n_samples_is_the_single_one_and_others_differ(engine, batch):
    drawn = engine.complete(
        [prompt_of("import ")], Sampling(max_tokens=24, temperature=1.0, seed=3, n=3)
    )[0]
    assert drawn[0].tokens == batch[3].tokens
    assert len({one.text for one in drawn}) == 3


def test_more_samples_than_fit_in_a_batch_are_drawn_in_turns(make_engine):
    sampling = Sampling(max_tokens=8, temperature=1.0, seed=3, n=3)
    together = make_engine().complete([prompt_of("import ")], sampling)[0]
    few = make_engine(max_rows=2).complete([prompt_of("import ")], sampling)[0]
    assert [one.tokens for one in few] == [one.tokens for one in together]


GIB = 1 << 30
ROW_BYTES = 2 * 2 * 2 * 16 * 256 * 4  # keys and values: layers, heads, width, slots, bytes


def test_a_batch_has_as_many_rows_as_the_device_has_room_for(make_engine, monkeypatch):
    assert make_engine()._max_rows(256) == 16
    assert make_engine(max_rows=64)._max_rows(256) == 64
    assert make_engine(max_rows=64, cache_bytes=5 * ROW_BYTES + 1)._max_rows(256) == 5
    assert make_engine(cache_bytes=0)._max_rows(256) == 1

    class Accelerator:
        platform = "gpu"

        def __init__(self, **stats):
            self.memory_stats = lambda: stats or None

    for stats, expected in (
        ({"bytes_limit": 80 * GIB, "bytes_in_use": 20 * GIB}, 30 * GIB),
        ({}, GIB),
    ):
        monkeypatch.setattr(jax, "devices", lambda stats=stats: [Accelerator(**stats)])
        monkeypatch.setattr("codegemma.generate.engine._place", lambda params, **_: params)
        engine = make_engine()
        assert (engine._max_rows(256), engine._cache_bytes) == (64, expected)


def test_seeds_repeat_and_differ(engine):
    def drawn(seed):
        sampling = Sampling(max_tokens=24, temperature=1.0, seed=seed)
        return engine.complete([prompt_of("x")], sampling)[0][0].text

    assert drawn(3) == drawn(3)
    assert len({drawn(3), drawn(4), drawn(None), drawn(None)}) == 4


def test_streamed_pieces_join_to_the_completion(engine, batch):
    deltas = list(engine.stream(prompt_of("import "), DRAWN))
    assert "".join(delta.text for delta in deltas) == batch[3].text
    assert deltas[-1].completion.tokens == batch[3].tokens
    assert [delta.completion for delta in deltas[:-1]] == [None] * (len(deltas) - 1)
    assert len(deltas) > 5


def test_a_stop_string_that_spans_tokens_ends_text_and_stream_alike(engine, batch):
    whole = batch[3].text
    middle = len(whole) // 2
    stop = whole[middle - 2 : middle + 3]
    sampling = Sampling(max_tokens=24, temperature=1.0, seed=3, stop=(stop,))
    drawn = engine.complete([prompt_of("import ")], sampling)[0][0]
    assert drawn.text == whole[: whole.index(stop)]
    assert drawn.finish_reason == "stop"
    assert drawn.tokens == batch[3].tokens[: len(drawn.tokens)]
    pieces = [delta.text for delta in engine.stream(prompt_of("import "), sampling)]
    assert "".join(pieces) == drawn.text


def test_a_stop_id_ends_the_completion_and_is_its_last_token(make_engine, batch, monkeypatch):
    stop = batch[3].tokens[5]
    monkeypatch.setattr("codegemma.generate.engine.INFILL_STOP_IDS", frozenset({stop}))
    drawn = make_engine().complete([prompt_of("import ")], DRAWN)[0][0]
    assert drawn.tokens == batch[3].tokens[: batch[3].tokens.index(stop) + 1]
    assert drawn.finish_reason == "stop"


def test_length_is_bounded_by_max_tokens(engine, batch):
    drawn = engine.complete(
        [prompt_of("import ")], Sampling(max_tokens=5, temperature=1.0, seed=3)
    )[0][0]
    assert drawn.tokens == batch[3].tokens[:5]
    assert drawn.finish_reason == "length"


def test_cancelling_ends_the_stream_between_chunks(engine):
    cancel = threading.Event()
    deltas = []
    for delta in engine.stream(
        prompt_of("import "), Sampling(max_tokens=200, temperature=1.0, seed=3), cancel
    ):
        deltas.append(delta)
        cancel.set()
    assert deltas[-1].completion.finish_reason == "cancelled"
    assert 1 <= len(deltas[-1].completion.tokens) < 200
    assert "".join(delta.text for delta in deltas) == deltas[-1].completion.text


def test_cancelling_ends_every_completion_of_a_batch(engine):
    cancel = threading.Event()
    cancel.set()
    drawn = engine.complete([prompt_of("x"), prompt_of("import ")], DRAWN, cancel)
    assert [[one.finish_reason for one in found] for found in drawn] == [["cancelled"]] * 2


def test_a_stream_cancelled_before_it_began_is_empty(engine):
    cancel = threading.Event()
    cancel.set()
    (delta,) = engine.stream(prompt_of("x"), DRAWN, cancel)
    assert delta.completion.finish_reason == "cancelled"
    assert delta.completion.tokens == ()


def test_a_budget_ends_with_what_was_drawn(engine, monkeypatch):
    now = iter(np.arange(0.0, 1000.0, 0.02).tolist())
    monkeypatch.setattr("codegemma.generate.batch.time.perf_counter", lambda: next(now))
    sampling = Sampling(max_tokens=200, temperature=1.0, seed=3, budget_ms=200.0)
    drawn = engine.complete([prompt_of("import ")], sampling)[0][0]
    assert drawn.finish_reason == "deadline"
    assert 1 <= len(drawn.tokens) < 200


def test_max_tokens_is_clipped_to_the_context(engine):
    tokens = (2, *[300] * 249)
    drawn = engine.complete([Prompt(tokens=tokens)], Sampling(max_tokens=100, logprobs=3))[0][0]
    assert drawn.prompt_tokens == 250
    assert len(drawn.tokens) <= 6
    assert drawn.finish_reason in ("stop", "length")


@pytest.mark.parametrize(
    "prompt",
    [Prompt(prefix="x = 1\n" * 200), Prompt(tokens=(2,) * 256)],
    ids=["left to right", "tokens"],
)
def test_a_prompt_beyond_the_context_that_is_not_infill_is_refused(engine, prompt):
    message = r"has \d+ tokens, and the context of tiny holds 256"
    with pytest.raises(ContextLengthError, match=message):
        engine.complete([prompt], Sampling())
    with pytest.raises(ContextLengthError, match=message):
        engine.stream(prompt, Sampling())


def test_code_beyond_the_context_is_cut_around_the_cursor_and_the_completion_says_so(engine):
    lines = "".join(f"value_{number} = {number}\n" for number in range(200))
    prompt = Prompt(prefix=lines, suffix=lines, context=(SourceFile(path="a.py", text="x = 1\n"),))
    drawn = engine.complete([prompt], Sampling(max_tokens=1))[0][0]
    assert 200 < drawn.prompt_tokens <= 255
    assert drawn.cut.files == ("a.py",)
    assert 1000 < drawn.cut.prefix_chars < len(lines)
    assert 1000 < drawn.cut.suffix_chars < len(lines)
    assert engine.complete([prompt_of("x")], Sampling(max_tokens=1))[0][0].cut is None
    request = engine._request(prompt, Sampling(max_tokens=200))
    assert len(request.tokens) <= 128
    assert request.max_tokens == 256 - len(request.tokens)


def test_a_code_model_names_the_model_to_pull_for_a_conversation(engine):
    with pytest.raises(InputError, match=r"codegemma pull codegemma-1\.1-7b-it$"):
        engine.complete([Prompt(turns=(Turn(role="user", text="Hi"),))], Sampling())


def test_an_instruction_model_stops_at_the_end_of_its_turn(make_engine):
    engine = make_engine(is_instruction=True)
    prompt = Prompt(turns=(Turn(role="user", text="Hi"),))
    drawn = engine.complete([prompt], Sampling(max_tokens=4, temperature=1.0, seed=0))[0][0]
    assert drawn.prompt_tokens == len(render_prompt(engine.tokenizer, prompt, mode="psm"))
    request = engine._request(prompt, Sampling())
    assert request.stop_ids == {1, 67, 68, 69, 70, 107}


@pytest.mark.parametrize("token", [-1, 1024])
def test_an_id_outside_the_vocabulary_is_refused(engine, token):
    with pytest.raises(InputError, match=f"{token} is outside the vocabulary of 1024"):
        engine.complete([Prompt(tokens=(2, token))], Sampling())
    with pytest.raises(InputError, match="outside the vocabulary"):
        engine.logits([2, token])


def test_summed_logprobs_are_the_loglikelihood(engine, batch):
    prompts = [render_prompt(engine.tokenizer, prompt_of(p), mode="psm") for p in PREFIXES]
    pairs = [(prompt, drawn.tokens) for prompt, drawn in zip(prompts, batch, strict=True)]
    scored = engine.score(pairs)
    sums = [sum(entry.logprob for entry in drawn.logprobs) for drawn in batch]
    np.testing.assert_allclose([one.logprob for one in scored], sums, rtol=1e-4)
    assert [one.num_tokens for one in scored] == [len(drawn.tokens) for drawn in batch]


def test_a_greedy_continuation_is_known_for_one(engine):
    prompt = render_prompt(engine.tokenizer, prompt_of("return self."), mode="psm")
    sampling = Sampling(max_tokens=6, logprobs=3)
    greedy = engine.complete([prompt_of("return self.")], sampling)[0][0].tokens
    other = [*greedy[:-1], 300 if greedy[-1] != 300 else 301]
    assert engine.score([(prompt, greedy)])[0].is_greedy
    assert not engine.score([(prompt, other)])[0].is_greedy


def test_answers_of_one_token_to_a_question_are_scored_in_one_row(engine, monkeypatch):
    rows: list[int] = []
    read = programs.score

    def count(params, tokens, cache, **settings):
        rows.append(int((settings["num_tokens"] > 0).sum()))
        return read(params, tokens, cache, **settings)

    monkeypatch.setattr(programs, "score", count)
    question, other = [2, 300, 301, 302], [2, 303]
    pairs = [(question, [token]) for token in (310, 311, 312)]
    pairs += [(question[:2], [301, 302, 313]), (other, [304]), (question, []), (question, [311])]
    together = engine.score(pairs)
    assert rows == [2]  # the question, and the other one
    apart = [engine.score([pair])[0] for pair in pairs]
    found, expected = ([one.logprob for one in scored] for scored in (together, apart))
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert len({round(one.logprob, 4) for one in together[:3]}) == 3
    assert together[1] == together[6]
    assert [one.num_tokens for one in together] == [1, 1, 1, 3, 1, 0, 1]
    assert [one.is_greedy for one in together] == [one.is_greedy for one in apart]


def test_loglikelihood_of_text_starts_at_bos_and_moves_spaces_to_the_continuation(engine):
    encode = engine.tokenizer.encode
    pairs = [("a = ", "b"), ("a =", " b"), ("a", "")]
    spaced, moved, empty = (engine.loglikelihood([pair])[0] for pair in pairs)
    assert spaced == moved
    whole = encode("a = b")
    assert moved == engine.score([([2, *whole[:2]], whole[2:])])[0]
    assert encode("a =") == whole[:2]
    assert (empty.logprob, empty.is_greedy, empty.num_tokens) == (0.0, True, 0)


def test_a_context_too_long_to_score_loses_its_head(engine):
    encode = engine.tokenizer.encode
    long = engine.loglikelihood([("x\n" * 600, "y = 1")])[0]
    short = engine.loglikelihood([("x\n" * 3, "y = 1")])[0]
    assert long.num_tokens == short.num_tokens == len(encode("x\ny = 1")) - len(encode("x\n"))
    assert long.logprob != short.logprob
    assert (long.is_cut, short.is_cut) == (True, False)
    with pytest.raises(ContextLengthError, match="257"):
        engine.score([([2], [300] * 256)])
    with pytest.raises(InputError, match="at least one token"):
        engine.score([([], [300])])


def test_what_is_asked_alone_depends_on_nothing_asked_before_bit_for_bit(make_engine):
    """What `evaluate --batch 1` promises: neighbours, order and earlier requests change nothing."""
    pairs = [("x = 1\n" * n, "y = 2") for n in (1, 9, 20, 33)]
    prompts = [Prompt(prefix="x = 1\n" * n) for n in (20, 1, 33, 9)]
    greedy = Sampling(max_tokens=12, logprobs=0)

    def alone(engine, order):
        scored = [engine.loglikelihood([pairs[i]])[0] for i in order]
        drawn = [engine.complete([prompts[i]], greedy)[0][0] for i in order]
        return {i: (scored[k], drawn[k].tokens, drawn[k].logprobs) for k, i in enumerate(order)}

    first = make_engine(is_for_one=False)
    found = alone(first, (0, 1, 2, 3))
    first.loglikelihood(pairs)
    first.complete(prompts, greedy)

    assert alone(first, (3, 1)) == {i: found[i] for i in (3, 1)}
    assert alone(make_engine(is_for_one=False), (2, 0)) == {i: found[i] for i in (2, 0)}


def test_logits_are_those_of_a_full_forward_pass(engine, full_logits):
    tokens = [2, *np.random.default_rng(0).integers(108, 1024, 62).tolist()]
    logits = engine.logits(tokens)
    assert logits.shape == (63, 1024)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, full_logits([tokens])[0, :63], atol=1e-4)


def test_the_first_prompt_is_read_in_pieces_of_one_length_and_later_ones_in_few(
    make_engine, monkeypatch
):
    engine, lengths = make_engine(), []
    draw = engine._shared.draw

    def watched(requests, *, piece_lengths, **settings):
        lengths.append(piece_lengths)
        return draw(requests, piece_lengths=piece_lengths, **settings)

    monkeypatch.setattr(engine._shared, "draw", watched)
    for _ in range(3):
        engine.complete([Prompt(tokens=(2, *[300] * 149))], Sampling(max_tokens=1))
    assert lengths == [(256,), (256, 64), (256, 64)]


def test_a_prompt_read_in_pieces_gives_what_one_pass_gives(engine, full_logits):
    tokens = np.random.default_rng(1).integers(108, 1024, 150)
    prompt = (2, *tokens.tolist())
    drawn = engine.complete([Prompt(tokens=prompt)], Sampling(max_tokens=4, logprobs=3))[0][0]
    logits = full_logits([[*prompt, *drawn.tokens]])[0]
    assert list(drawn.tokens) == logits[150 : 150 + len(drawn.tokens)].argmax(-1).tolist()


def test_bfloat16_draws_near_what_float32_knows(make_engine, engine):
    other = make_engine(dtype="bfloat16")
    drawn = other.complete([prompt_of("x")], Sampling(max_tokens=6, logprobs=0))[0][0]
    assert other._weights.cache_dtype == BFLOAT16_BITS  # which XLA does not convert whole
    prompt = render_prompt(engine.tokenizer, prompt_of("x"), mode="psm")
    scored = engine.score([(prompt, drawn.tokens)])[0]
    assert scored.logprob == pytest.approx(sum(t.logprob for t in drawn.logprobs), rel=0.1)


def aligned(array):
    raw = np.empty(array.nbytes + 64, np.uint8)
    start = -raw.ctypes.data % 64
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[:] = array
    return copy


def test_weights_of_the_right_dtype_are_used_in_place_on_a_cpu(params, config, tokenizer, engine):
    host = jax.tree.map(aligned, params)
    placed = Engine(host, config=config, tokenizer=tokenizer, info=engine.info)._weights.params
    first, second = (layer["gate"].unsafe_buffer_pointer() for layer in placed["layers"])
    assert first == host["layers"]["gate"].ctypes.data
    assert second == first + host["layers"]["gate"][0].nbytes
    assert placed["embedding"].unsafe_buffer_pointer() == host["embedding"].ctypes.data


def test_several_threads_get_the_texts_of_one(engine, batch):
    found = {}

    def run(index):
        found[index] = engine.complete([prompt_of(PREFIXES[index])], DRAWN)[0][0].text

    threads = [threading.Thread(target=run, args=(index,)) for index in (1, 3, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {index: batch[index].text for index in (1, 3, 5)}


def test_engines_take_stacked_and_unstacked_weights_alike(params, config, tokenizer, engine):
    from codegemma.model.params import unstack_layers

    other = Engine(unstack_layers(params), config=config, tokenizer=tokenizer, info=engine.info)
    np.testing.assert_array_equal(other.logits([2, 300]), engine.logits([2, 300]))


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_rows_on_an_accelerator_draw_what_reading_all_at_once_finds_likeliest(dtype):
    if jax.default_backend() == "cpu":
        pytest.skip("jax has no accelerator here")
    engine = load_engine("nano", dtype=dtype)
    assert engine.info.device == jax.default_backend()
    found = engine.complete([prompt_of(prefix) for prefix in PREFIXES], Sampling(max_tokens=24))
    prompts = [render_prompt(engine.tokenizer, prompt_of(p), mode="spm") for p in PREFIXES]
    pairs = [(prompt, drawn.tokens) for prompt, [drawn] in zip(prompts, found, strict=True)]
    num_greedy = sum(one.is_greedy for one in engine.score(pairs))
    assert engine.info.mode == "spm"
    # In bfloat16 two near ties may fall either way.
    assert num_greedy >= (len(PREFIXES) if dtype == "float32" else len(PREFIXES) - 2)
