// SPDX-License-Identifier: Apache-2.0
// ARM's NEON with dot products (ARMv8.2 and later, every Apple processor among them).
#include <arm_neon.h>
#if defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "path.h"

namespace codegemma {
namespace {

constexpr int kRows = 4;

bool IsSupported() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#else
  return true;
#endif
}

int32_t Offset(int64_t bits) { return bits == 4 ? 8 : 0; }

void Prepare(const float* x, const Rows& rows, int64_t row, int32_t offset) {
  const int64_t groups = rows.inputs / kGroup;
  int8_t* q = rows.q + row * rows.inputs;
  for (int64_t group = 0; group < groups; ++group, x += kGroup, q += kGroup) {
    float32x4_t most = vdupq_n_f32(0);
    for (int i = 0; i < 8; ++i) most = vmaxq_f32(most, vabsq_f32(vld1q_f32(x + 4 * i)));
    const float highest = vmaxvq_f32(most);
    const float32x4_t inverse = vdupq_n_f32(highest > kLeast ? 127.0f / highest : 0);
    int32x4_t sums = vdupq_n_s32(0);
    for (int i = 0; i < 8; i += 2) {
      const int32x4_t low = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + 4 * i), inverse));
      const int32x4_t high = vcvtnq_s32_f32(vmulq_f32(vld1q_f32(x + 4 * i + 4), inverse));
      vst1_s8(q + 4 * i, vqmovn_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high))));
      sums = vaddq_s32(sums, vaddq_s32(low, high));
    }
    rows.scale[row * groups + group] = highest / 127.0f;
    rows.bias[row * groups + group] = -offset * vaddvq_s32(sums);
  }
}

// Adds the products of four outputs' weights of quads 0 to 3, or 4 to 7, with those of x.
inline int32x4_t AddQuads(int32x4_t sum, const int8x16_t (&w)[4], int8x16_t x) {
  sum = vdotq_laneq_s32(sum, w[0], x, 0);
  sum = vdotq_laneq_s32(sum, w[1], x, 1);
  sum = vdotq_laneq_s32(sum, w[2], x, 2);
  return vdotq_laneq_s32(sum, w[3], x, 3);
}

template <int kBits, int kCount>
void MultiplyBlock(const Rows& rows, int64_t row, const Weight& weight, int64_t block) {
  constexpr int64_t kGroupBytes = kBits * kLanes * kGroup / 8;
  const int64_t groups = rows.inputs / kGroup;
  const uint8_t* q = weight.q + block * groups * kGroupBytes;
  const uint16_t* scale = weight.scale + block * groups * kLanes;
  const int8_t* x = rows.q + row * rows.inputs;
  const float* x_scale = rows.scale + row * groups;
  const int32_t* bias = rows.bias + row * groups;
  float32x4_t total[4][kCount];
  for (auto& part : total) {
    for (auto& sum : part) sum = vdupq_n_f32(0);
  }
  for (int64_t group = 0; group < groups; ++group) {
    for (int part = 0; part < 4; ++part) {  // four of the block's outputs
      const uint8_t* bytes = q + group * kGroupBytes + 16 * part;
      int8x16_t low[4], high[4];
      for (int quad = 0; quad < 4; ++quad) {
        const uint8x16_t both = vld1q_u8(bytes + 64 * quad);
        if constexpr (kBits == 8) {
          low[quad] = vreinterpretq_s8_u8(both);
          high[quad] = vreinterpretq_s8_u8(vld1q_u8(bytes + 64 * (quad + 4)));
        } else {
          low[quad] = vreinterpretq_s8_u8(vandq_u8(both, vdupq_n_u8(15)));
          high[quad] = vreinterpretq_s8_u8(vshrq_n_u8(both, 4));
        }
      }
      const float16x4_t halves =
          vreinterpret_f16_u16(vld1_u16(scale + group * kLanes + 4 * part));
      const float32x4_t w_scale = vcvt_f32_f16(halves);
      for (int r = 0; r < kCount; ++r) {
        const int8_t* values = x + r * rows.inputs + group * kGroup;
        int32x4_t sum = vdupq_n_s32(bias[r * groups + group]);
        sum = AddQuads(sum, low, vld1q_s8(values));
        sum = AddQuads(sum, high, vld1q_s8(values + 16));
        const float32x4_t both = vmulq_n_f32(w_scale, x_scale[r * groups + group]);
        total[part][r] = vfmaq_f32(total[part][r], vcvtq_f32_s32(sum), both);
      }
    }
  }
  for (int part = 0; part < 4; ++part) {
    for (int r = 0; r < kCount; ++r) {
      float* out = weight.out + (row + r) * weight.outputs + block * kLanes + 4 * part;
      vst1q_f32(out, total[part][r]);
    }
  }
}

template <int kBits>
void MultiplyBlocks(const Rows& rows, const Weight& weight, int64_t first, int64_t last) {
  int64_t row = 0;
  for (; row + kRows <= rows.count; row += kRows) {
    for (int64_t block = first; block < last; ++block) {
      MultiplyBlock<kBits, kRows>(rows, row, weight, block);
    }
  }
  for (int64_t block = first; block < last; ++block) {
    int64_t left = row;
    if (rows.count - left >= 2) MultiplyBlock<kBits, 2>(rows, left, weight, block), left += 2;
    if (rows.count - left >= 1) MultiplyBlock<kBits, 1>(rows, left, weight, block);
  }
}

void Multiply(const Rows& rows, const Weight& weight, int64_t first, int64_t last) {
  (weight.bits == 8 ? MultiplyBlocks<8> : MultiplyBlocks<4>)(rows, weight, first, last);
}

constexpr int kWidth = 4, kScored = 4, kSummed = 8;

inline float32x4_t MultiplyAdd(float32x4_t a, float32x4_t b, float32x4_t c) {
  return vfmaq_f32(c, a, b);
}

inline void SumFour(float32x4_t a, float32x4_t b, float32x4_t c, float32x4_t d, float* out) {
  vst1q_f32(out, vpaddq_f32(vpaddq_f32(a, b), vpaddq_f32(c, d)));
}

#include "attention.inc"

}  // namespace

extern const Path kNeon = {IsSupported, Offset, 0, Prepare, Multiply, nullptr, nullptr, Attend};

}  // namespace codegemma
