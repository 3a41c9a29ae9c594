// SPDX-License-Identifier: Apache-2.0
// The custom call that puts new keys and values into a cache and attends to what it then holds.
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "path.h"
#include "work.h"

namespace codegemma {
namespace {

namespace ffi = xla::ffi;

// Queries of one key head that go through the cache together, over one or more chunks of it.
struct Block {
  int64_t row, head, first_query, num_queries;
  int64_t num_slots;    // that its queries see
  int64_t first_chunk;  // its place among the chunks of all blocks
  int64_t num_chunks;
};

struct Sizes {
  int64_t batch, num_new, num_heads, head_dim;  // of the queries
  int64_t num_slots, num_key_heads;             // of the cache
  int64_t group;                                // query heads that a key head has
};

constexpr int64_t kChunkSlots = 256;  // that one thread looks at, where queries are few
constexpr int64_t kFewQueries = 128;  // more are work for all threads by themselves
// Floats that a chunk leaves: of each query the largest score, the sum of weights, the outputs.
constexpr int64_t kSums = kMaxQueries * (2 + kMaxHeadDim);

ffi::Error Fault(const std::string& what) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "codegemma_attend: " + what);
}

void Put(const float* values, int64_t count, float* stored) {
  std::memcpy(stored, values, count * sizeof(float));
}

// Rounded to the nearest bfloat16, of two the even one.
void Put(const float* values, int64_t count, uint16_t* stored) {
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, values + i, sizeof bits);
    const bool is_nan = (bits & 0x7fffffff) > 0x7f800000;
    const uint32_t rounded = bits + 0x7fff + (bits >> 16 & 1);
    stored[i] = static_cast<uint16_t>((is_nan ? bits | 0x400000 : rounded) >> 16);
  }
}

template <typename Stored>
void Write(const float* values, const Sizes& sizes, const int32_t* length, const int32_t* num_tokens,
           void* layer) {
  const int64_t heads = sizes.num_key_heads, width = sizes.head_dim;
  for (int64_t row = 0; row < sizes.batch; ++row) {
    for (int64_t head = 0; head < heads; ++head) {
      const int64_t slot = (row * heads + head) * sizes.num_slots + length[row];
      Stored* stored = static_cast<Stored*>(layer) + slot * width;
      const float* first = values + (row * sizes.num_new * heads + head) * width;
      for (int64_t token = 0; token < num_tokens[row]; ++token) {
        Put(first + token * heads * width, width, stored + token * width);
      }
    }
  }
}

std::vector<Block> Divide(const Sizes& sizes, const int32_t* length, const int32_t* num_tokens) {
  std::vector<Block> blocks;
  int64_t num_chunks = 0;
  const bool has_few = sizes.num_new * sizes.group <= kFewQueries;
  for (int64_t row = 0; row < sizes.batch; ++row) {
    const int64_t num_queries = num_tokens[row] * sizes.group;
    for (int64_t head = 0; head < sizes.num_key_heads; ++head) {
      for (int64_t first = 0; first < num_queries; first += kMaxQueries) {
        const int64_t count = std::min(kMaxQueries, num_queries - first);
        const int64_t num_slots = length[row] + (first + count - 1) / sizes.group + 1;
        const int64_t chunks = has_few ? (num_slots + kChunkSlots - 1) / kChunkSlots : 1;
        blocks.push_back({row, head, first, count, num_slots, num_chunks, chunks});
        num_chunks += chunks;
      }
    }
  }
  return blocks;
}

// Make one softmax of those of a block's chunks.
void Join(const Span& span, const float* sums, int64_t num_chunks) {
  for (int64_t query = 0; query < span.count; ++query) {
    float highest = sums[query];
    for (int64_t chunk = 1; chunk < num_chunks; ++chunk) {
      highest = std::fmax(highest, sums[chunk * kSums + query]);
    }
    float total = 0;
    float* out = span.out[query];
    std::memset(out, 0, span.head_dim * sizeof(float));
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
      const float* part = sums + chunk * kSums;
      const float weight = std::exp(part[query] - highest);
      const float* values = part + 2 * kMaxQueries + query * kMaxHeadDim;
      total += weight * part[kMaxQueries + query];
      for (int64_t i = 0; i < span.head_dim; ++i) out[i] += weight * values[i];
    }
    const float inverse = 1 / total;
    for (int64_t i = 0; i < span.head_dim; ++i) out[i] *= inverse;
  }
}

// What a call works on: the queries, and one layer of the cache.
struct Call {
  Sizes sizes;
  const Path* path;
  const float* q;
  float* out;
  const int32_t* length;
  const int32_t* num_tokens;
  char* keys;
  char* values;
  int64_t stored_bytes;
};

Span Describe(const Call& call, const Block& block) {
  const Sizes& sizes = call.sizes;
  Span span = {};
  span.head_dim = sizes.head_dim;
  span.count = block.num_queries;
  span.stored_bits = 8 * call.stored_bytes;
  const int64_t start = (block.row * sizes.num_key_heads + block.head) * sizes.num_slots *
                        sizes.head_dim * call.stored_bytes;
  span.keys = call.keys + start;
  span.values = call.values + start;
  for (int64_t i = 0; i < block.num_queries; ++i) {
    const int64_t token = (block.first_query + i) / sizes.group;
    const int64_t head = block.head * sizes.group + (block.first_query + i) % sizes.group;
    const int64_t place =
        ((block.row * sizes.num_new + token) * sizes.num_heads + head) * sizes.head_dim;
    span.q[i] = call.q + place;
    span.out[i] = call.out + place;
    span.num_seen[i] = call.length[block.row] + token + 1;
  }
  return span;
}

// Let every query look at the slots it sees, its own among them.
bool Look(ffi::ThreadPool& pool, const Call& call) {
  const std::vector<Block> blocks = Divide(call.sizes, call.length, call.num_tokens);
  std::vector<const Block*> block_of;
  for (const Block& block : blocks) block_of.insert(block_of.end(), block.num_chunks, &block);
  const int64_t num_chunks = static_cast<int64_t>(block_of.size());
  const Memory memory = Allocate(num_chunks * kSums * static_cast<int64_t>(sizeof(float)));
  if (memory == nullptr) return false;
  float* const sums = static_cast<float*>(memory.get());
  const bool is_brief = call.sizes.batch * call.sizes.num_new <= kFewRows;
  RunParallel(pool, num_chunks, is_brief, [&](int64_t chunk) {
    const Block& block = *block_of[chunk];
    Span span = Describe(call, block);
    const int64_t size = block.num_chunks == 1 ? block.num_slots : kChunkSlots;
    span.first = (chunk - block.first_chunk) * size;
    span.last = std::min(block.num_slots, span.first + size);
    span.highest = sums + chunk * kSums;
    span.total = span.highest + kMaxQueries;
    for (int64_t i = 0; i < span.count; ++i) {
      span.out[i] = span.total + kMaxQueries + i * kMaxHeadDim;
    }
    call.path->attend(span);
  });
  RunParallel(pool, static_cast<int64_t>(blocks.size()), is_brief, [&](int64_t place) {
    const Block& block = blocks[place];
    Join(Describe(call, block), sums + block.first_chunk * kSums, block.num_chunks);
  });
  return true;
}

// Say what does not fit; nothing where all does.
std::string FindFault(const Call& call, const ffi::AnyBuffer& keys, const ffi::AnyBuffer& values,
                      int64_t num_new_keys, int64_t num_new_values, int64_t layer) {
  const Sizes& sizes = call.sizes;
  const auto cache = keys.dimensions();
  const int64_t num_new = sizes.batch * sizes.num_new * sizes.num_key_heads * sizes.head_dim;
  if (sizes.head_dim % 32 != 0 || sizes.head_dim > kMaxHeadDim || cache[1] != sizes.batch ||
      cache[4] != sizes.head_dim || sizes.group * sizes.num_key_heads != sizes.num_heads ||
      num_new_keys != num_new || num_new_values != num_new ||
      values.element_count() != keys.element_count()) {
    return "queries, keys and cache do not fit";
  }
  if (values.element_type() != keys.element_type() ||
      (keys.element_type() != ffi::U16 && keys.element_type() != ffi::F32)) {
    return "expected a cache of bfloat16 bits or of float32";
  }
  if (layer < 0 || layer >= cache[0]) return "there is no layer " + std::to_string(layer);
  for (int64_t row = 0; row < sizes.batch; ++row) {
    const int64_t held = call.length[row], added = call.num_tokens[row];
    if (held < 0 || added < 0 || added > sizes.num_new || held + added > sizes.num_slots) {
      return "row " + std::to_string(row) + " has no room";
    }
  }
  return "";
}

ffi::Error Attend(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> q, ffi::Buffer<ffi::F32> new_keys,
                  ffi::Buffer<ffi::F32> new_values, ffi::AnyBuffer, ffi::AnyBuffer,
                  ffi::Buffer<ffi::S32> layer, ffi::Buffer<ffi::S32> length,
                  ffi::Buffer<ffi::S32> num_tokens, ffi::ResultBuffer<ffi::F32> out,
                  ffi::Result<ffi::AnyBuffer> keys, ffi::Result<ffi::AnyBuffer> values,
                  std::string_view path_name) {
  const Path* path = FindPath(path_name);
  if (path == nullptr) return Fault("this processor has no path " + std::string(path_name));
  const auto heads = q.dimensions(), cache = keys->dimensions();
  if (heads.size() != 4 || cache.size() != 5 || out->element_count() != q.element_count() ||
      static_cast<int64_t>(length.element_count()) != heads[0] ||
      static_cast<int64_t>(num_tokens.element_count()) != heads[0]) {
    return Fault("wrong axes");
  }
  const int64_t group = heads[2] / std::max<int64_t>(1, cache[2]);
  Call call = {{heads[0], heads[1], heads[2], heads[3], cache[3], cache[2], group},
               path,
               q.typed_data(),
               out->typed_data(),
               length.typed_data(),
               num_tokens.typed_data(),
               static_cast<char*>(keys->untyped_data()),
               static_cast<char*>(values->untyped_data()),
               keys->element_type() == ffi::U16 ? 2 : 4};
  const int64_t index = layer.typed_data()[0];
  const std::string fault =
      FindFault(call, *keys, *values, static_cast<int64_t>(new_keys.element_count()),
                static_cast<int64_t>(new_values.element_count()), index);
  if (!fault.empty()) return Fault(fault);
  const int64_t layer_bytes =
      cache[1] * cache[2] * cache[3] * cache[4] * call.stored_bytes;
  call.keys += index * layer_bytes;
  call.values += index * layer_bytes;
  const auto write = call.stored_bytes == 2 ? Write<uint16_t> : Write<float>;
  write(new_keys.typed_data(), call.sizes, call.length, call.num_tokens, call.keys);
  write(new_values.typed_data(), call.sizes, call.length, call.num_tokens, call.values);
  std::memset(call.out, 0, out->size_bytes());
  if (!Look(pool, call)) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "out of memory");
  return ffi::Error::Success();
}

}  // namespace
}  // namespace codegemma

CODEGEMMA_EXPORT XLA_FFI_Error* codegemma_attend(XLA_FFI_CallFrame* frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_attend, codegemma::Attend,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::AnyBuffer>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .Ret<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Ret<xla::ffi::AnyBuffer>()
                                  .Attr<std::string_view>("path"));
