// SPDX-License-Identifier: Apache-2.0
// Intel's matrix tiles, for many rows: weights and rows as bfloat16, so that sums stay in the tiles over
// all groups. (Tiles of int8 would have to be emptied and scaled after every group.) Few rows go
// the way of AVX-512.
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "path.h"

namespace codegemma {
namespace {

constexpr int kBlocks = 8;      // of outputs unpacked at a time
constexpr int kGroups = 32;     // of inputs
constexpr int kTile = 16 * 32;  // bfloat16 values in a tile: 16 rows of 64 bytes

// 16 outputs and 32 inputs make a tile: row p holds inputs 2 * p and 2 * p + 1 of each output.
alignas(64) thread_local uint16_t unpacked[kBlocks][kGroups][kTile];

struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

bool IsSupported() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;
  constexpr unsigned kTiles = 1u << 24 | 1u << 22;  // AMX-TILE and AMX-BF16; Clang 14 cannot ask for them
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!kAvx512.is_supported() || !__builtin_cpu_supports("avx512bf16") ||
      !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & kTiles) != kTiles) {
    return false;
  }
  static const bool is_permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return is_permitted;
}

int32_t Offset(int64_t bits) { return kAvx512.offset(bits); }

void Prepare(const float* x, const Rows& rows, int64_t row, int32_t offset) {
  kAvx512.prepare(x, rows, row, offset);
}

void Multiply(const Rows& rows, const Weight& weight, int64_t first, int64_t last) {
  kAvx512.multiply(rows, weight, first, last);
}

// Tiles of 16 rows and 32 inputs lie one after the other: [rows / 16][groups][16][32].
void PrepareWide(const float* x, const Rows& rows, int64_t row) {
  const int64_t groups = rows.inputs / kGroup;
  uint16_t* tile = rows.wide + row / 16 * groups * kTile + row % 16 * kGroup;
  for (int64_t group = 0; group < groups; ++group, x += kGroup, tile += kTile) {
    const __m512bh both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
    _mm512_storeu_si512(tile, reinterpret_cast<__m512i>(both));
  }
}

// Round two vectors to bfloat16, their values side by side.
inline __m512i Interleave(__m512 even, __m512 odd) {
  const __m512i half = _mm512_set1_epi32(0x8000);
  const __m512i low = _mm512_srli_epi32(_mm512_add_epi32(_mm512_castps_si512(even), half), 16);
  const __m512i high = _mm512_add_epi32(_mm512_castps_si512(odd), half);
  return _mm512_mask_blend_epi16(0xaaaaaaaa, low, high);
}

inline void UnpackInt8(const uint8_t* q, __m512 scale, uint16_t* tile) {
  for (int quad = 0; quad < 8; ++quad) {
    const __m512i bytes = _mm512_loadu_si512(q + 64 * quad);
    __m512i whole[4] = {_mm512_slli_epi32(bytes, 24), _mm512_slli_epi32(bytes, 16),
                        _mm512_slli_epi32(bytes, 8), bytes};
    __m512 values[4];
    for (int i = 0; i < 4; ++i) {
      values[i] = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_srai_epi32(whole[i], 24)), scale);
    }
    _mm512_store_si512(tile + 64 * quad, Interleave(values[0], values[1]));
    _mm512_store_si512(tile + 64 * quad + 32, Interleave(values[2], values[3]));
  }
}

inline void UnpackInt4(const uint8_t* q, __m512 scale, uint16_t* tile) {
  const __m512 eight = _mm512_mul_ps(scale, _mm512_set1_ps(8));
  const __m512i mask = _mm512_set1_epi32(15);
  for (int quad = 0; quad < 4; ++quad) {
    __m512i bytes = _mm512_loadu_si512(q + 64 * quad);
    __m512 low[4], high[4];
    for (int i = 0; i < 4; ++i) {
      const __m512 first = _mm512_cvtepi32_ps(_mm512_and_si512(bytes, mask));
      bytes = _mm512_srli_epi32(bytes, 4);
      const __m512 second = _mm512_cvtepi32_ps(_mm512_and_si512(bytes, mask));
      bytes = _mm512_srli_epi32(bytes, 4);
      low[i] = _mm512_fmsub_ps(first, scale, eight);
      high[i] = _mm512_fmsub_ps(second, scale, eight);
    }
    _mm512_store_si512(tile + 64 * quad, Interleave(low[0], low[1]));
    _mm512_store_si512(tile + 64 * quad + 32, Interleave(low[2], low[3]));
    _mm512_store_si512(tile + 64 * (quad + 4), Interleave(high[0], high[1]));
    _mm512_store_si512(tile + 64 * (quad + 4) + 32, Interleave(high[2], high[3]));
  }
}

void Unpack(const Weight& weight, int64_t block, int64_t group, int64_t count, uint16_t* tiles) {
  const int64_t groups = weight.inputs / kGroup;
  const int64_t group_bytes = weight.bits * kLanes * kGroup / 8;
  for (int64_t place = block * groups + group; count > 0; ++place, --count, tiles += kTile) {
    const __m512 scale = _mm512_cvtph_ps(_mm256_loadu_si256(
        reinterpret_cast<const __m256i*>(weight.scale + place * kLanes)));
    const uint8_t* q = weight.q + place * group_bytes;
    if (weight.bits == 8) {
      UnpackInt8(q, scale, tiles);
    } else {
      UnpackInt4(q, scale, tiles);
    }
  }
}

// Tiles 0 to 3 are sums, 4 and 5 rows, 6 and 7 weights.
void Configure(int64_t num_rows) {
  TileConfig config;
  const int64_t first = num_rows < 16 ? num_rows : 16, second = num_rows - first;
  const int64_t rows[8] = {first, first, second, second, first, second, 16, 16};
  for (int tile = 0; tile < 8; ++tile) {
    config.rows[tile] = static_cast<uint8_t>(rows[tile]);
    config.row_bytes[tile] = rows[tile] > 0 ? 64 : 0;
  }
  _tile_loadconfig(&config);
}

// Up to 32 rows and 32 outputs, over `count` groups from `group` on.
template <bool kTwoTiles, bool kTwoBlocks>
void MultiplyTiles(const Rows& rows, int64_t row, const Weight& weight, int64_t block,
                   const uint16_t* w, int64_t group, int64_t count) {
  const int64_t groups = weight.inputs / kGroup, stride = weight.outputs * 4;
  float* out = weight.out + row * weight.outputs + block * kLanes;
  float* below = out + 16 * weight.outputs;
  const uint16_t* x = rows.wide + (row / 16 * groups + group) * kTile;
  if (group == 0) {
    _tile_zero(0);
    if constexpr (kTwoBlocks) _tile_zero(1);
    if constexpr (kTwoTiles) _tile_zero(2);
    if constexpr (kTwoTiles && kTwoBlocks) _tile_zero(3);
  } else {
    _tile_loadd(0, out, stride);
    if constexpr (kTwoBlocks) _tile_loadd(1, out + kLanes, stride);
    if constexpr (kTwoTiles) _tile_loadd(2, below, stride);
    if constexpr (kTwoTiles && kTwoBlocks) _tile_loadd(3, below + kLanes, stride);
  }
  for (int64_t step = 0; step < count; ++step) {
    _tile_loadd(6, w + step * kTile, 64);
    if constexpr (kTwoBlocks) _tile_loadd(7, w + (kGroups + step) * kTile, 64);
    _tile_loadd(4, x + step * kTile, 64);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (kTwoBlocks) _tile_dpbf16ps(1, 4, 7);
    if constexpr (kTwoTiles) {
      _tile_loadd(5, x + (groups + step) * kTile, 64);
      _tile_dpbf16ps(2, 5, 6);
      if constexpr (kTwoBlocks) _tile_dpbf16ps(3, 5, 7);
    }
  }
  _tile_stored(0, out, stride);
  if constexpr (kTwoBlocks) _tile_stored(1, out + kLanes, stride);
  if constexpr (kTwoTiles) _tile_stored(2, below, stride);
  if constexpr (kTwoTiles && kTwoBlocks) _tile_stored(3, below + kLanes, stride);
}

void MultiplyWide(const Rows& rows, const Weight& weight, int64_t first, int64_t last) {
  const int64_t groups = weight.inputs / kGroup;
  for (; first < last; first += kBlocks) {
    const int64_t blocks = last - first < kBlocks ? last - first : kBlocks;
    for (int64_t group = 0; group < groups; group += kGroups) {
      const int64_t count = groups - group < kGroups ? groups - group : kGroups;
      for (int64_t block = 0; block < blocks; ++block) {
        Unpack(weight, first + block, group, count, unpacked[block][0]);
      }
      int64_t configured = 0;
      for (int64_t row = 0; row < rows.count; row += 32) {
        const int64_t num_rows = rows.count - row < 32 ? rows.count - row : 32;
        if (num_rows != configured) Configure(configured = num_rows);
        for (int64_t block = 0; block < blocks; block += 2) {
          const bool two_blocks = block + 1 < blocks, two_tiles = num_rows > 16;
          const auto multiply = two_tiles ? (two_blocks ? MultiplyTiles<true, true>
                                                        : MultiplyTiles<true, false>)
                                          : (two_blocks ? MultiplyTiles<false, true>
                                                        : MultiplyTiles<false, false>);
          multiply(rows, row, weight, first + block, unpacked[block][0], group, count);
        }
      }
    }
  }
  _tile_release();
}

void Attend(const Span& span) { kAvx512.attend(span); }

}  // namespace

extern const Path kAmx = {IsSupported, Offset, 24, Prepare, Multiply, PrepareWide, MultiplyWide, Attend};

}  // namespace codegemma
