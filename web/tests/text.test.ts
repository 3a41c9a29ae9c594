// SPDX-License-Identifier: Apache-2.0
import assert from "node:assert/strict";
import { test } from "node:test";

import {
  curlCommand,
  formatTime,
  isWorthAsking,
  nextWord,
  splitEvents,
  typeThrough,
} from "../src/text.ts";

test("typing what is suggested keeps the rest", () => {
  assert.equal(typeThrough("return x", "re"), "turn x");
  assert.equal(typeThrough("x", "x"), "");
  assert.equal(typeThrough("return x", "y"), null);
});

test("a word is accepted with the space before it", () => {
  assert.equal(nextWord("return x"), "return");
  assert.equal(nextWord(" + y"), " +");
  assert.equal(nextWord("(self)"), "(");
  assert.equal(nextWord("\n    pass"), "\n    ");
  assert.equal(nextWord(""), "");
});

test("nothing is asked inside a word or in an empty file", () => {
  assert.equal(isWorthAsking("x = ", "\n"), true);
  assert.equal(isWorthAsking("f(", ")"), true);
  assert.equal(isWorthAsking("ret", "urn"), false);
  assert.equal(isWorthAsking("  \n", ""), false);
});

test("events may come in pieces", () => {
  const first = splitEvents('data: {"a":1}\n\ndata: {"b"');
  assert.deepEqual(first, { events: ['{"a":1}'], rest: 'data: {"b"' });
  assert.deepEqual(splitEvents(`${first.rest}:2}\n\n`), { events: ['{"b":2}'], rest: "" });
  assert.deepEqual(splitEvents(": comment\n\n"), { events: [], rest: "" });
});

test("a curl command survives quotes", () => {
  assert.equal(
    curlCommand("http://localhost/v1/completions", { prompt: "it's" }, false),
    "curl http://localhost/v1/completions \\\n  -H 'Content-Type: application/json' \\\n" +
      "  -d '{\n  \"prompt\": \"it'\\''s\"\n}'",
  );
  assert.match(curlCommand("u", {}, true), /Bearer \$CODEGEMMA_TOKEN/);
});

test("times are short", () => {
  assert.equal(formatTime(83.4), "83 ms");
  assert.equal(formatTime(1234), "1.23 s");
});
