// SPDX-License-Identifier: Apache-2.0
// AVX-512 with VNNI: 64 products of bytes an instruction, weights as unsigned factors.
#include <immintrin.h>

#include "path.h"

namespace codegemma {
namespace {

constexpr int kRows = 8;  // of activations at a time; their sums and a group's weights fill the registers

bool IsSupported() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

int32_t Offset(int64_t bits) { return bits == 4 ? 8 : 128; }

void Prepare(const float* x, const Rows& rows, int64_t row, int32_t offset) {
  const int64_t groups = rows.inputs / kGroup;
  int8_t* q = rows.q + row * rows.inputs;
  for (int64_t group = 0; group < groups; ++group, x += kGroup, q += kGroup) {
    const __m512 low = _mm512_loadu_ps(x), high = _mm512_loadu_ps(x + 16);
    const float highest =
        _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(low), _mm512_abs_ps(high)));
    const __m512 inverse = _mm512_set1_ps(highest > kLeast ? 127.0f / highest : 0);
    const __m512i low_q = _mm512_cvtps_epi32(_mm512_mul_ps(low, inverse));
    const __m512i high_q = _mm512_cvtps_epi32(_mm512_mul_ps(high, inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q), _mm512_cvtepi32_epi8(low_q));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(q + 16), _mm512_cvtepi32_epi8(high_q));
    rows.scale[row * groups + group] = highest / 127.0f;
    rows.bias[row * groups + group] =
        -offset * _mm512_reduce_add_epi32(_mm512_add_epi32(low_q, high_q));
  }
}

template <int kBits>
inline void Unpack(const uint8_t* q, __m512i (&w)[8]) {
  if constexpr (kBits == 8) {
    for (int quad = 0; quad < 8; ++quad) {
      w[quad] = _mm512_xor_si512(_mm512_loadu_si512(q + 64 * quad), _mm512_set1_epi8(-128));
    }
  } else {
    const __m512i mask = _mm512_set1_epi8(15);
    for (int quad = 0; quad < 4; ++quad) {
      const __m512i both = _mm512_loadu_si512(q + 64 * quad);
      w[quad] = _mm512_and_si512(both, mask);
      w[quad + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), mask);
    }
  }
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
  __m512 total[kCount];
  for (int r = 0; r < kCount; ++r) total[r] = _mm512_setzero_ps();
  for (int64_t group = 0; group < groups; ++group) {
    for (int64_t at = 0; at < kGroupBytes; at += 64) {
      __builtin_prefetch(q + group * kGroupBytes + at + kFetchedAhead);
    }
    __m512i w[8];
    Unpack<kBits>(q + group * kGroupBytes, w);
    const __m512 w_scale = _mm512_cvtph_ps(
        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(scale + group * kLanes)));
#pragma GCC unroll 8
    for (int r = 0; r < kCount; ++r) {
      const int32_t* quads =
          reinterpret_cast<const int32_t*>(x + r * rows.inputs + group * kGroup);
      __m512i sum = _mm512_set1_epi32(bias[r * groups + group]);
#pragma GCC unroll 8
      for (int quad = 0; quad < 8; ++quad) {
        sum = _mm512_dpbusd_epi32(sum, w[quad], _mm512_set1_epi32(quads[quad]));
      }
      const __m512 both = _mm512_mul_ps(w_scale, _mm512_set1_ps(x_scale[r * groups + group]));
      total[r] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), both, total[r]);
    }
  }
  for (int r = 0; r < kCount; ++r) {
    _mm512_storeu_ps(weight.out + (row + r) * weight.outputs + block * kLanes, total[r]);
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
    if (rows.count - left >= 4) MultiplyBlock<kBits, 4>(rows, left, weight, block), left += 4;
    if (rows.count - left >= 2) MultiplyBlock<kBits, 2>(rows, left, weight, block), left += 2;
    if (rows.count - left >= 1) MultiplyBlock<kBits, 1>(rows, left, weight, block);
  }
}

void Multiply(const Rows& rows, const Weight& weight, int64_t first, int64_t last) {
  (weight.bits == 8 ? MultiplyBlocks<8> : MultiplyBlocks<4>)(rows, weight, first, last);
}

constexpr int kWidth = 16, kScored = 4, kSummed = 8;

inline __m512 MultiplyAdd(__m512 a, __m512 b, __m512 c) { return _mm512_fmadd_ps(a, b, c); }

inline __m256 Fold(__m512 a) {
  const __m512d high = _mm512_shuffle_f64x2(_mm512_castps_pd(a), _mm512_castps_pd(a), 0x0e);
  return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_castps512_ps256(_mm512_castpd_ps(high)));
}

inline void SumFour(__m512 a, __m512 b, __m512 c, __m512 d, float* out) {
  const __m256 sums = _mm256_hadd_ps(_mm256_hadd_ps(Fold(a), Fold(b)), _mm256_hadd_ps(Fold(c), Fold(d)));
  _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
}

#include "attention.inc"

}  // namespace

extern const Path kAvx512 = {IsSupported, Offset, 0, Prepare, Multiply, nullptr, nullptr, Attend};

}  // namespace codegemma
