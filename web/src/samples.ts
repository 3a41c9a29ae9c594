// SPDX-License-Identifier: Apache-2.0
// Texts to start from; "|" marks where the cursor stands.

export const PYTHON = `"""Shapes and their areas."""

from dataclasses import dataclass


@dataclass
class Circle:
    radius: float

    def area(self):
        return 3.14159 * self.radius ** 2


@dataclass
class Rectangle:
    width: float
    height: float

    def area(self):
        return |


@dataclass
class Triangle:
    base: float
    height: float

    def area(self):
        return 0.5 * self.base * self.height
`;

export const JAVASCRIPT = `/** Group items by the key a function gives them. */
export function groupBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    |
  }
  return groups;
}
`;

export const TYPESCRIPT = `export interface Point {
  x: number;
  y: number;
}

export function distance(a: Point, b: Point): number {
  return |
}
`;

export const JAVA = `import java.util.List;

public class Main {
    /** Returns the largest of the given numbers. */
    static int max(List<Integer> numbers) {
        int best = numbers.get(0);
        for (int number : numbers) {
            |
        }
        return best;
    }
}
`;

export const C = `#include <stddef.h>

/* Sum of the first n values. */
double sum(const double *values, size_t n) {
    double total = 0.0;
    for (size_t i = 0; i < n; i++) {
        |
    }
    return total;
}
`;

export const CPP = `#include <string>
#include <vector>

std::string join(const std::vector<std::string>& words, const std::string& separator) {
    std::string result;
    for (const auto& word : words) {
        |
    }
    return result;
}
`;

export const CSHARP = `using System.Collections.Generic;

public static class Words
{
    public static Dictionary<string, int> Count(IEnumerable<string> words)
    {
        var counts = new Dictionary<string, int>();
        foreach (var word in words)
        {
            |
        }
        return counts;
    }
}
`;

export const GO = `package main

import "fmt"

// Reverse returns its argument's runes in reverse order.
func Reverse(text string) string {
	runes := []rune(text)
	for i, j := 0, len(runes)-1; i < j; i, j = i+1, j-1 {
		|
	}
	return string(runes)
}

func main() {
	fmt.Println(Reverse("codegemma"))
}
`;

export const RUST = `use std::collections::HashMap;

fn count_words(text: &str) -> HashMap<&str, usize> {
    let mut counts = HashMap::new();
    for word in text.split_whitespace() {
        |
    }
    counts
}
`;

export const KOTLIN = `data class Person(val name: String, val age: Int)

fun adults(people: List<Person>): List<Person> {
    return |
}
`;
