// SPDX-License-Identifier: Apache-2.0
#include <cpuid.h>

#include "avx2.inc"

namespace codegemma {
namespace {

bool IsSupported() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return kAvx2.is_supported() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 4 & 1) != 0;
}

}  // namespace

extern const Path kAvxVnni = {IsSupported, Offset, 0, Prepare, Multiply, nullptr, nullptr, Attend};

}  // namespace codegemma
