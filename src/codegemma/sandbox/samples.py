# SPDX-License-Identifier: Apache-2.0
"""A program known to be right for each language that has tools: does what is installed work?

A compiler that is there by name may lack its library, and every program of a model would then be
counted as wrong. Each sample uses the parts of its library that test programs use.
"""

from collections.abc import Mapping
from typing import Final

from codegemma.sandbox.program import MEBIBYTE, Language, Limits

LINE: Final = "the tools work: 42"
"""What each sample prints."""

LIMITS: Final = Limits(cpu_s=60, wall_s=240.0, memory_bytes=1536 * MEBIBYTE)
"""Bounds of a sample: enough for Kotlin's compiler on a busy machine, and memory as in tests."""

SAMPLES: Final[Mapping[Language, str]] = {
    "cpp": """\
#include <bits/stdc++.h>
using namespace std;
int main() {
    map<string, vector<int>> found = {{"a", {40, 2}}};
    cout << "the tools work: " << accumulate(found["a"].begin(), found["a"].end(), 0) << endl;
}
""",
    "csharp": """\
using System;
using System.Collections.Generic;
using System.Linq;
using System.Web.UI;
using System.Web.Script.Serialization;
class Program {
    static void Main() {
        var numbers = new List<int> { 40, 2 };
        var text = new JavaScriptSerializer().Serialize(numbers.Sum());
        Console.WriteLine("the tools work: " + text);
    }
}
""",
    "go": """\
package main

import (
    "fmt"
    "math"
    "reflect"
    "sort"
)

func main() {
    found := []int{40, 2}
    sort.Ints(found)
    if reflect.DeepEqual(found, []int{2, 40}) && math.Abs(-1) == 1 {
        fmt.Printf("the tools work: %d\\n", found[0]+found[1])
    }
}
""",
    "java": """\
import java.util.*;
import java.util.stream.*;
class Main {
    public static void main(String[] arguments) {
        List<Integer> found = new ArrayList<>(Arrays.asList(40, 2));
        int sum = found.stream().collect(Collectors.summingInt(each -> each));
        System.out.println("the tools work: " + sum);
    }
}
""",
    "javascript": """\
const found = new Map([["a", [40, 2]]]);
const text = require('fs').readFileSync(0, 'utf8');
console.log(`the tools work: ${found.get("a").reduce((a, b) => a + b)}${text}`);
""",
    "kotlin": """\
package main

import kotlin.math.*

fun main() {
    val found: Map<String, ArrayList<Int>> = mapOf("a" to arrayListOf(40, -2))
    println("the tools work: " + found["a"]!!.map { abs(it) }.sum())
}

main()
""",
    "rust": """\
use std::collections::*;

fn main() {
    let found: HashMap<&str, Vec<i32>> = HashMap::from([("a", Vec::from([40, 2]))]);
    println!("the tools work: {}", found["a"].iter().sum::<i32>());
}
""",
}
