// SPDX-License-Identifier: Apache-2.0
// The path of any processor, and what the others are held to.
#include <cmath>
#include <cstring>

#include "path.h"

namespace codegemma {
namespace {

bool IsSupported() { return true; }

int32_t Offset(int64_t bits) { return bits == 4 ? 8 : 0; }

float FromHalf(uint16_t half) {
  const uint32_t magnitude = half & 0x7fff;
  float value;
  if (magnitude < 0x400) {
    // XLA has the processor take a float of such bits for zero, so they are read as a whole number.
    value = static_cast<float>(magnitude) * 0x1p-24f;
  } else {
    const uint32_t bits = (magnitude << 13) + (112u << 23);  // the exponent's bias is 127, not 15
    std::memcpy(&value, &bits, sizeof value);
  }
  return (half & 0x8000) != 0 ? -value : value;
}

void Prepare(const float* x, const Rows& rows, int64_t row, int32_t offset) {
  const int64_t groups = rows.inputs / kGroup;
  int8_t* q = rows.q + row * rows.inputs;
  for (int64_t group = 0; group < groups; ++group, x += kGroup, q += kGroup) {
    float highest = 0;
    for (int64_t i = 0; i < kGroup; ++i) highest = std::fmax(highest, std::fabs(x[i]));
    const float inverse = highest > kLeast ? 127.0f / highest : 0;
    int32_t sum = 0;
    for (int64_t i = 0; i < kGroup; ++i) {
      q[i] = static_cast<int8_t>(std::nearbyint(x[i] * inverse));
      sum += q[i];
    }
    rows.scale[row * groups + group] = highest / 127.0f;
    rows.bias[row * groups + group] = -offset * sum;
  }
}

void Multiply(const Rows& rows, const Weight& weight, int64_t first, int64_t last) {
  const int64_t groups = rows.inputs / kGroup;
  const int64_t quads = weight.bits == 8 ? 8 : 4;
  const int64_t group_bytes = quads * kLanes * 4;
  for (int64_t block = first; block < last; ++block) {
    for (int64_t row = 0; row < rows.count; ++row) {
      float total[kLanes] = {};
      for (int64_t group = 0; group < groups; ++group) {
        const int64_t place = block * groups + group;
        const uint8_t* w = weight.q + place * group_bytes;
        const int8_t* x = rows.q + row * rows.inputs + group * kGroup;
        int32_t sums[kLanes];
        for (int32_t& sum : sums) sum = rows.bias[row * groups + group];
        for (int64_t quad = 0; quad < quads; ++quad) {
          for (int64_t lane = 0; lane < kLanes; ++lane) {
            for (int64_t i = 0; i < 4; ++i) {
              const uint8_t byte = w[(quad * kLanes + lane) * 4 + i];
              const int64_t input = quad * 4 + i;
              if (weight.bits == 8) {
                sums[lane] += static_cast<int8_t>(byte) * x[input];
              } else {
                sums[lane] += (byte & 15) * x[input] + (byte >> 4) * x[input + 16];
              }
            }
          }
        }
        const float scale = rows.scale[row * groups + group];
        for (int64_t lane = 0; lane < kLanes; ++lane) {
          total[lane] += sums[lane] * (FromHalf(weight.scale[place * kLanes + lane]) * scale);
        }
      }
      std::memcpy(weight.out + row * weight.outputs + block * kLanes, total, sizeof total);
    }
  }
}

constexpr int kWidth = 4, kScored = 2, kSummed = 2;

typedef float Four __attribute__((vector_size(16)));

inline Four MultiplyAdd(Four a, Four b, Four c) { return a * b + c; }

inline void SumFour(Four a, Four b, Four c, Four d, float* out) {
  const Four parts[4] = {a, b, c, d};
  for (int i = 0; i < 4; ++i) out[i] = (parts[i][0] + parts[i][1]) + (parts[i][2] + parts[i][3]);
}

#include "attention.inc"

}  // namespace

extern const Path kPortable = {IsSupported, Offset, 0, Prepare, Multiply, nullptr, nullptr, Attend};

}  // namespace codegemma
