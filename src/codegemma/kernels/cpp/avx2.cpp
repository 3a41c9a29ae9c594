// SPDX-License-Identifier: Apache-2.0
#include <cpuid.h>

#include "avx2.inc"

namespace codegemma {
namespace {

bool IsSupported() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool has_f16c = __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C) != 0;  // Clang cannot ask
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c;
}

}  // namespace

extern const Path kAvx2 = {IsSupported, Offset, 0, Prepare, Multiply, nullptr, nullptr, Attend};

}  // namespace codegemma
