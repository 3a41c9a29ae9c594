# SPDX-License-Identifier: Apache-2.0
"""What goes into a training set and how it is cut: one named function per recipe."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from codegemma.data import languages
from codegemma.data import thresholds as bounds
from codegemma.data.document import GENRES, Genre
from codegemma.errors import ConfigError

SplitKind = Literal["suffix_start", "line", "ast", "random"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRecipe:
    """The resolved settings of a data set; the manifest holds them and their hash.

    Args:
        name: Name on the command line.
        mixture: Share of the tokens that training draws from each genre; what no source is named
            of is left out, and the others keep their proportions.
        text_languages: ISO 639-1 codes of the natural languages that are taken.
        extensions: File name ends that are read, such as ".py".
        languages: Of the files read, those in these languages by `languages.detect` are kept, and
            files without an extension looked at; empty: told by extension alone.
        context_tokens: Token budget of a record, `<bos>` and `<eos>` included.
        window_tokens: Budgets of a window of a file too long for the context; one is drawn per
            window. Equal to the context: windows as long as possible.
        fim_fraction: Share of files that are cut into prefix, middle and suffix, in [0, 1].
        psm_fraction: Share of the cut files laid out as PSM; the others are SPM.
        split_kinds: Weights of the ways to cut.
        max_middle_chars: Longest middle of the kinds "suffix_start", "ast" and "random",
            log-uniform lengths of drawn spans below it; None draws both ends uniformly, as Bavarian
            et al. do.
        no_path_fraction: Share of files whose path line is left out.
        empty_suffix_fraction: Share of cut files whose middle runs to the end of the file.
        max_file_bytes: Larger files are not read.
        max_test_fraction: Most bytes of a repository's tests, as a share of its other code.
        max_repository_bytes: Most bytes taken from one repository, so that a few large ones do not
            make up the set; None for no limit.
        thresholds: By language, or "default" for all, the thresholds of `data/thresholds.py` that
            are others here.
        near_copy_threshold: Least Jaccard similarity of a near copy.
        max_common_repositories: A word run that stands alone, not in a copy of a benchmark item,
            in more repositories is no contamination.
        permissive_only: Whether files without a known permissive licence are left out.
        keep_unlicensed: Whether, of those, the ones without any known licence are kept.
        redact: Whether secrets and personal data are replaced.
        heldout: Repositories kept apart for testing, by name.
        holdout_fraction: Share of the repositories kept apart where none of `heldout` is among
            them, drawn by name.
    """

    name: str
    mixture: Mapping[Genre, float] = field(default_factory=lambda: {"code": 1.0})
    text_languages: tuple[str, ...] = ("en",)
    extensions: tuple[str, ...] = (".py",)
    languages: tuple[str, ...] = ()
    context_tokens: int = 8192
    window_tokens: tuple[int, ...] = (8192,)
    fim_fraction: float = 0.8
    psm_fraction: float = 0.5
    split_kinds: Mapping[SplitKind, float] = field(
        default_factory=lambda: {"suffix_start": 0.9, "random": 0.1}
    )
    max_middle_chars: int | None = None
    no_path_fraction: float = 0.1
    empty_suffix_fraction: float = 0.05
    max_file_bytes: int = 1_000_000
    max_test_fraction: float = 0.25
    max_repository_bytes: int | None = None
    thresholds: bounds.Changes = field(default_factory=dict[str, dict[str, int | float]])
    near_copy_threshold: float = 0.7
    max_common_repositories: int = 3
    permissive_only: bool = True
    keep_unlicensed: bool = False
    redact: bool = True
    heldout: tuple[str, ...] = ()
    holdout_fraction: float = 0.01

    def __post_init__(self) -> None:
        fractions = {
            "fim_fraction": self.fim_fraction,
            "psm_fraction": self.psm_fraction,
            "no_path_fraction": self.no_path_fraction,
            "empty_suffix_fraction": self.empty_suffix_fraction,
            "holdout_fraction": self.holdout_fraction,
        }
        faults = [
            f"{name} must be in [0, 1], not {value}"
            for name, value in fractions.items()
            if not 0 <= value <= 1
        ]
        faults += bounds.faults(self.thresholds)
        if not 0 < self.near_copy_threshold <= 1:
            faults.append(f"near_copy_threshold must be in (0, 1], not {self.near_copy_threshold}")
        if self.context_tokens < 64:
            faults.append(f"context_tokens must be at least 64, not {self.context_tokens}")
        if not self.window_tokens or not all(
            32 <= size <= self.context_tokens for size in self.window_tokens
        ):
            faults.append(f"window_tokens must lie in [32, {self.context_tokens}]")
        if not self.split_kinds or min(self.split_kinds.values()) <= 0:
            faults.append("split_kinds must hold positive weights")
        if not self.mixture or min(self.mixture.values()) <= 0:
            faults.append("mixture must hold positive weights")
        if unknown := set(self.mixture).difference(GENRES):
            faults.append(f"mixture knows {', '.join(GENRES)}, not {', '.join(sorted(unknown))}")
        if faults:
            raise ConfigError("; ".join(faults))


def nano() -> DataRecipe:
    """Python at hand, for the embedded model: short windows, short middles, many single lines.

    Unstated: CodeGemma publishes neither lengths of middles nor a share of single lines; both
    follow what a small model is used for, the line under the cursor.
    """
    return DataRecipe(
        name="nano",
        context_tokens=1024,
        window_tokens=(300, 480, 980),
        fim_fraction=0.9,
        split_kinds={"line": 0.5, "suffix_start": 0.4, "random": 0.1},
        max_middle_chars=600,
        no_path_fraction=0.2,
        max_test_fraction=0.15,
        max_repository_bytes=12_000_000,
        heldout=(
            "networkx",
            "huggingface-hub",
            "rich",
            "scikit-build-core",
            "optax",
            "mpmath",
            "starlette",
            "uvicorn",
            "jinja2",
            "click",
        ),
    )


def nano_gpu() -> DataRecipe:
    """The data of `nano`, for the larger model that a GPU trains."""
    return replace(nano(), name="nano-gpu")


def tiny() -> DataRecipe:
    """The data of `nano` without its list of held-out packages, for tests and first steps."""
    return replace(nano(), name="tiny", heldout=())


def codegemma_2b() -> DataRecipe:
    """The released 2B model: FIM rate 80 %, half PSM and half SPM, context 8,192.

    Unstated: the languages; here those that CodeGemma is measured in, and TypeScript. The share of
        random splits beside the syntactically natural ones. Files over 1 MB are left out (OpenCoder
        takes 3 MB), and tests beyond a quarter of a repository's other code.
    Source: CodeGemma, arXiv 2406.11409, 'Fill-in-the-middle'; model card.
    """
    return DataRecipe(name="codegemma-2b", extensions=languages.EXTENSIONS, languages=languages.ALL)


def codegemma_2b_ast() -> DataRecipe:
    """As `codegemma_2b` with three in ten cuts along syntactic units; no released model's mix.

    Source: AST-FIM, arXiv 2506.00204, whose tenth of random cuts is kept.
    """
    mix: dict[SplitKind, float] = {"suffix_start": 0.6, "ast": 0.3, "random": 0.1}
    return replace(codegemma_2b(), name="codegemma-2b-ast", split_kinds=mix)


def codegemma_1_1_2b() -> DataRecipe:
    """The refreshed 2B model: as `codegemma_2b` with FIM rate 90 %."""
    return replace(codegemma_2b(), name="codegemma-1.1-2b", fim_fraction=0.9)


def codegemma_7b() -> DataRecipe:
    """The released 7B model: 80 % code, cut as for `codegemma_2b`, and 20 % natural language.

    Source: CodeGemma, arXiv 2406.11409, 'Pretraining Data'.
    Unstated: the part of mathematics in it; sources of it need a weight of their own.
    """
    mix: dict[Genre, float] = {"code": 0.8, "text": 0.2}
    return replace(codegemma_2b(), name="codegemma-7b", mixture=mix)


_RECIPES = (nano, nano_gpu, tiny, codegemma_2b, codegemma_2b_ast, codegemma_1_1_2b, codegemma_7b)


def by_name(name: str) -> DataRecipe:
    """Give the recipe of this name.

    Raises:
        ConfigError: There is none; the message lists those there are.
    """
    recipes = {recipe.name: recipe for recipe in (make() for make in _RECIPES)}
    if name not in recipes:
        raise ConfigError(f"no data recipe {name!r}; there are {', '.join(sorted(recipes))}")
    return recipes[name]
