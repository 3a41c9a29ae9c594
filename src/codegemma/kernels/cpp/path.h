// SPDX-License-Identifier: Apache-2.0
// What a path through the kernels offers, a path being what one instruction set can do.
//
// A weight's outputs lie in blocks of 16, its inputs in groups of 32 that share a scale:
//
//   q      [blocks][groups][8][16][4]  int8: input 4*j + i of output n stands at [j][n][i]
//          [blocks][groups][4][16][4]  int4: that of j in the low half of a byte, of j + 4 in the high one, each + 8
//   scale  [blocks][groups][16]        float16; a weight is scale * q
//
// So 16 outputs take the same four inputs side by side, as the dot products of every instruction set
// want them, and a group of 16 outputs ends in one vector with one scale each.
//
// Each path is a file of its own, compiled with its own flags. Such a file must use nothing of the
// standard library that is a template or inline: the linker could take its copy for all files.
#pragma once

#include <cstdint>

namespace codegemma {

constexpr int64_t kLanes = 16;
constexpr int64_t kGroup = 32;

// How far ahead of its use a weight is fetched: left to itself, the processor stops at each page.
constexpr int64_t kFetchedAhead = 2048;

// Below this a group's largest activation counts as 0: 127 times its inverse would not be finite.
constexpr float kLeast = 1e-30f;

struct Weight {
  const uint8_t* q;
  const uint16_t* scale;
  int64_t bits;     // 8 or 4
  int64_t inputs;   // a multiple of 32
  int64_t outputs;  // a multiple of 16
  float* out;       // [rows][outputs]
};

// Rows of activations in the form a path multiplies.
struct Rows {
  int64_t count;
  int64_t inputs;
  int8_t* q;       // [count][inputs], between -127 and 127, a group's scale being its largest value / 127
  float* scale;    // [count][groups]
  int32_t* bias;   // [count][groups]: minus the group's sum times what `prepare` was told
  uint16_t* wide;  // [count][inputs] bfloat16, in the place of the others
};

constexpr int64_t kMaxQueries = 32;
constexpr int64_t kMaxHeadDim = 256;

// Some of the queries of one key head, and the slots of a cache they look at.
struct Span {
  int64_t head_dim;  // a multiple of 32, at most kMaxHeadDim
  int64_t count;     // of queries, at most kMaxQueries
  const float* q[kMaxQueries];
  int64_t num_seen[kMaxQueries];  // slots that a query sees, from slot 0 on
  const void* keys;               // of slot 0; those of the next slot follow
  const void* values;
  int64_t stored_bits;            // 16 for bfloat16, 32 for float32
  int64_t first, last;            // slots `first` to `last` - 1 are looked at
  // The softmax over these slots: its largest score, the sum of its weights, and the sum of values
  // by weight. A query that sees none of them has a sum of 0.
  float* highest;
  float* total;
  float* out[kMaxQueries];
};

struct Path {
  // Whether this processor can take it.
  bool (*is_supported)();
  // Added by the path to a weight of 8 or 4 bits before it multiplies.
  int32_t (*offset)(int64_t bits);
  // From how many rows on `multiply_wide` is faster; 0 where there is none.
  int64_t min_wide_rows;
  // Quantise one row.
  void (*prepare)(const float* x, const Rows& rows, int64_t row, int32_t offset);
  // The outputs of blocks `first` to `last` - 1, of all rows.
  void (*multiply)(const Rows& rows, const Weight& weight, int64_t first, int64_t last);
  // The same of rows rounded to bfloat16.
  void (*prepare_wide)(const float* x, const Rows& rows, int64_t row);
  void (*multiply_wide)(const Rows& rows, const Weight& weight, int64_t first, int64_t last);
  void (*attend)(const Span& span);
};


extern const Path kPortable;
#ifdef CODEGEMMA_AVX2
extern const Path kAvx2;
#endif
#ifdef CODEGEMMA_AVXVNNI
extern const Path kAvxVnni;
#endif
#ifdef CODEGEMMA_AVX512
extern const Path kAvx512;
#endif
#ifdef CODEGEMMA_AMX
extern const Path kAmx;
#endif
#ifdef CODEGEMMA_NEON
extern const Path kNeon;
#endif

}  // namespace codegemma
