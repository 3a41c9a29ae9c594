# SPDX-License-Identifier: Apache-2.0
"""The eight languages, as data.

Source: BabelCode (google-research/babelcode, Apache-2.0) for names, types, values and stop strings.
Unstated: BabelCode lists no stop strings for Kotlin; those of C++ stand in, as a Kotlin function
ends alike.
"""

from collections.abc import Mapping
from typing import Final

from codegemma.evaluate.babelcode.language import Language

_ARRAYS = (("array", ("vector", "list")), ("map", ("dict", "dictionary", "dictionaries")))
_LISTS = (("list", ("array", "vector")), ("dictionary", ("map",)))

_CPP = Language(
    key="cpp",
    name="C++",
    spoken="C++",
    convention="camel",
    words=(("vector", ("array", "list")), ("map", ("dict", "dictionary", "dictionaries"))),
    leaves={
        "boolean": "bool",
        "character": "char",
        "double": "double",
        "float": "float",
        "integer": "int",
        "long": "long long",
        "string": "string",
    },
    list_type="vector<{}>",
    map_type="map<{},{}>",
    parameter="{type} {name}",
    list_value="{{{items}}}",
    entry_value="{{{key}, {value}}}",
    equal="actual == expected",
    close="abs(actual - expected) < {tolerance}",
    stops=("\n}",),
    closers=("\n}",),
)
_CSHARP = Language(
    key="csharp",
    name="CSharp",
    spoken="C#",
    convention="pascal",
    words=_LISTS,
    style="method",
    leaves={
        "boolean": "bool",
        "character": "char",
        "double": "decimal",
        "float": "float",
        "integer": "int",
        "long": "long",
        "string": "string",
    },
    list_type="List<{}>",
    map_type="Dictionary<{}, {}>",
    parameter="{type} {name}",
    list_value="new {type}{{{items}}}",
    map_value="new {type}{{{items}}}",
    entry_value="{{{key}, {value}}}",
    suffixes={"float": "f", "double": "m"},
    equal="new JavaScriptSerializer().Serialize(actual) == "
    "new JavaScriptSerializer().Serialize(expected)",
    close="Math.Abs(actual - expected) < {tolerance}",
    stops=("\n    }\n",),
    closers=("\n    }", "\n}"),
)
_GO = Language(
    key="go",
    name="Go",
    spoken="Go",
    convention="camel",
    words=_ARRAYS,
    style="lines",
    leaves={
        "boolean": "bool",
        "character": "rune",
        "double": "float64",
        "float": "float64",
        "integer": "int",
        "long": "int64",
        "string": "string",
    },
    list_type="[]{}",
    map_type="map[{}]{}",
    parameter="{name} {type}",
    list_value="{type}{{{items}}}",
    inner_list_value="{{{items}}}",
    map_value="{type}{{{items}}}",
    separator=", \n\t",
    equal="reflect.DeepEqual(actual,expected)",
    close="math.Abs(actual - expected) < {tolerance}",
    stops=("\nfunc", "struct", "\n// "),
)
_JAVA = Language(
    key="java",
    name="Java",
    spoken="Java",
    convention="camel",
    words=_ARRAYS,
    style="method",
    leaves={
        "boolean": "Boolean",
        "character": "Character",
        "double": "Double",
        "float": "Float",
        "integer": "Integer",
        "long": "Long",
        "string": "String",
    },
    list_type="ArrayList<{}>",
    map_type="Map<{}, {}>",
    parameter="{type} {name}",
    list_value="new ArrayList<>(Arrays.asList({items}))",
    map_value="Map.ofEntries({items})",
    entry_value="entry({key}, {value})",
    suffixes={"float": "f", "long": "L"},
    equal="actual.equals(expected)",
    close="Math.abs(actual - expected) < {tolerance}",
    stops=("\n    }\n",),
    closers=("\n    }", "\n}"),
)
_JAVASCRIPT = Language(
    key="javascript",
    name="Javascript",
    spoken="Javascript",
    convention="camel",
    words=_ARRAYS,
    equal="convertToString(actual)===convertToString(expected)",
    close="Math.abs(actual - expected) < {tolerance}",
    stops=("\nfunction ", "\n/*", "\n//"),
)
_KOTLIN = Language(
    key="kotlin",
    name="Kotlin",
    spoken="Kotlin",
    convention="camel",
    words=_ARRAYS,
    leaves={
        "boolean": "Boolean",
        "character": "Char",
        "double": "Double",
        "float": "Float",
        "integer": "Int",
        "long": "Long",
        "string": "String",
    },
    list_type="ArrayList<{}>",
    map_type="Map<{}, {}>",
    parameter="{name}: {type}",
    list_value="arrayListOf({items})",
    map_value="mapOf({items})",
    entry_value="{key} to {value}",
    suffixes={"float": "f"},
    escapes="$",
    equal="actual.equals(expected)",
    close="abs(actual - expected) < {tolerance}",
    stops=("\n}",),
    closers=("\n}",),
)
_PYTHON = Language(
    key="python",
    name="Python",
    spoken="Python",
    convention="snake",
    words=_LISTS,
    style="quotes",
    comment="#",
    leaves={
        "boolean": "bool",
        "character": "str",
        "double": "float",
        "float": "float",
        "integer": "int",
        "long": "int",
        "string": "str",
    },
    list_type="List[{}]",
    map_type="Dict[{}, {}]",
    parameter="{name}: {type}",
    truths=("False", "True"),
    equal="actual == expected",
    close="abs(actual - expected) < {tolerance}",
    stops=("\ndef", "\n#", "\nif", "\nclass"),
)
_RUST = Language(
    key="rust",
    name="Rust",
    spoken="Rust",
    convention="snake",
    words=(("vector", ("vec", "list")), ("set", ("dict", "dictionary", "dictionaries"))),
    style="lines",
    comment="///",
    leaves={
        "boolean": "bool",
        "character": "char",
        "double": "f64",
        "float": "f32",
        "integer": "i32",
        "long": "i64",
        "string": "String",
    },
    list_type="Vec<{}>",
    map_type="HashMap<{}, {}>",
    parameter="{name}: {type}",
    list_value="Vec::from([{items}])",
    map_value="HashMap::from([{items}])",
    entry_value="({key}, {value})",
    suffixes={"string": ".to_string()"},
    equal="actual==expected",
    close="(actual - expected).abs() < {tolerance}",
    stops=("\n}",),
    closers=("\n}",),
)

LANGUAGES: Final[Mapping[str, Language]] = {
    language.key: language
    for language in (_CPP, _CSHARP, _GO, _JAVA, _JAVASCRIPT, _KOTLIN, _PYTHON, _RUST)
}
"""By the key that the command line uses, in the order of the published table."""
