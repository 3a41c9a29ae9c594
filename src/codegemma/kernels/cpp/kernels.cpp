// SPDX-License-Identifier: Apache-2.0
// The custom call of products, and what Python asks about the paths.
#include <string>

#include "path.h"
#include "work.h"

namespace codegemma {
namespace {

namespace ffi = xla::ffi;

struct NamedPath {
  const char* name;
  const Path* path;
};

// Best first; the slower of two that a processor has is there to be measured and tested.
constexpr NamedPath kPaths[] = {
#ifdef CODEGEMMA_AMX
    {"amx", &kAmx},
#endif
#ifdef CODEGEMMA_AVX512
    {"avx512", &kAvx512},
#endif
#ifdef CODEGEMMA_AVXVNNI
    {"avxvnni", &kAvxVnni},
#endif
#ifdef CODEGEMMA_AVX2
    {"avx2", &kAvx2},
#endif
#ifdef CODEGEMMA_NEON
    {"neon", &kNeon},
#endif
    {"portable", &kPortable},
};

}  // namespace

const Path* FindPath(std::string_view name) {
  for (const NamedPath& known : kPaths) {
    if (name == known.name && known.path->is_supported()) return known.path;
  }
  return nullptr;
}

namespace {

constexpr int64_t kPartBytes = 1 << 17;  // of weights, for few rows
constexpr int64_t kPartBlocks = 8;       // for many

ffi::Error Fault(const std::string& what) {
  return ffi::Error(ffi::ErrorCode::kInvalidArgument, "codegemma_multiply: " + what);
}

// Products of the rows `x` with one layer of each weight, given as pairs of q and scale.
ffi::Error Multiply(ffi::ThreadPool pool, ffi::Buffer<ffi::F32> x, ffi::Buffer<ffi::S32> layer,
                    ffi::RemainingArgs args, ffi::RemainingRets rets, std::string_view path_name,
                    int64_t bits) {
  const Path* path = FindPath(path_name);
  if (path == nullptr) return Fault("this processor has no path " + std::string(path_name));
  if (bits != 8 && bits != 4) return Fault("expected 8 or 4 bits");
  if (x.dimensions().size() != 2) return Fault("expected rows of activations");
  const int64_t count = x.dimensions()[0], inputs = x.dimensions()[1];
  const int64_t groups = inputs / kGroup;
  const int64_t group_bytes = bits * kLanes * kGroup / 8;
  if (inputs % kGroup != 0) return Fault("inputs are no multiple of 32");
  if (args.size() != 2 * rets.size() || rets.size() > 4) return Fault("expected q and scale pairs");
  if (count == 0) return ffi::Error::Success();

  Weight weights[4];
  int64_t num_blocks[4];
  for (size_t i = 0; i < rets.size(); ++i) {
    auto q = args.get<ffi::AnyBuffer>(2 * i), scale = args.get<ffi::AnyBuffer>(2 * i + 1);
    auto out = rets.get<ffi::Buffer<ffi::F32>>(i);
    if (q.has_error() || scale.has_error() || out.has_error()) return Fault("bad weights");
    const int64_t outputs = (*out)->dimensions()[1];
    const int64_t size = outputs / kLanes * groups;
    const int64_t q_bytes = q->size_bytes(), num_scales = scale->element_count();
    const int64_t layers = num_scales / std::max<int64_t>(1, size * kLanes);
    const int64_t index = layer.typed_data()[0];
    if (outputs % kLanes != 0 || scale->element_type() != ffi::F16 || layers < 1 ||
        num_scales != layers * size * kLanes || q_bytes != layers * size * group_bytes) {
      return Fault("weight " + std::to_string(i) + " does not fit its inputs and outputs");
    }
    if (index < 0 || index >= layers) return Fault("there is no layer " + std::to_string(index));
    num_blocks[i] = outputs / kLanes;
    weights[i] = {static_cast<const uint8_t*>(q->untyped_data()) + index * size * group_bytes,
                  static_cast<const uint16_t*>(scale->untyped_data()) + index * size * kLanes,
                  bits, inputs, outputs, (*out)->typed_data()};
  }

  const bool is_wide = path->min_wide_rows > 0 && count >= path->min_wide_rows;
  const int64_t padded = (count + 15) / 16 * 16;
  const int64_t row_bytes = is_wide ? 2 * inputs : inputs + 8 * groups;
  const Memory owner = Allocate(padded * row_bytes + 512);
  if (owner == nullptr) return ffi::Error(ffi::ErrorCode::kResourceExhausted, "out of memory");
  char* memory = static_cast<char*>(owner.get());
  Rows rows = {count, inputs, nullptr, nullptr, nullptr, nullptr};
  if (is_wide) {
    rows.wide = Take<uint16_t>(memory, padded * inputs);
  } else {
    rows.q = Take<int8_t>(memory, count * inputs);
    rows.scale = Take<float>(memory, count * groups);
    rows.bias = Take<int32_t>(memory, count * groups);
  }
  const auto prepare = [&](int64_t row) {
    const float* values = x.typed_data() + row * inputs;
    if (is_wide) {
      path->prepare_wide(values, rows, row);
    } else {
      path->prepare(values, rows, row, path->offset(bits));
    }
  };
  if (count < 16) {
    for (int64_t row = 0; row < count; ++row) prepare(row);
  } else {
    const int64_t parts = (count + 15) / 16;
    RunParallel(pool, parts, false, [&](int64_t part) {
      for (int64_t row = 16 * part; row < std::min(count, 16 * part + 16); ++row) prepare(row);
    });
  }

  const int64_t part_blocks =
      count > kFewRows ? kPartBlocks : std::max<int64_t>(1, kPartBytes / (groups * group_bytes));
  int64_t first_part[5] = {};
  for (size_t i = 0; i < rets.size(); ++i) {
    first_part[i + 1] = first_part[i] + (num_blocks[i] + part_blocks - 1) / part_blocks;
  }
  RunParallel(pool, first_part[rets.size()], count <= kFewRows, [&](int64_t part) {
    size_t i = 0;
    while (part >= first_part[i + 1]) ++i;
    const int64_t first = (part - first_part[i]) * part_blocks;
    const int64_t last = std::min(num_blocks[i], first + part_blocks);
    (is_wide ? path->multiply_wide : path->multiply)(rows, weights[i], first, last);
  });
  return ffi::Error::Success();
}

}  // namespace
}  // namespace codegemma

CODEGEMMA_EXPORT XLA_FFI_Error* codegemma_multiply(XLA_FFI_CallFrame* frame);

XLA_FFI_DEFINE_HANDLER_SYMBOL(codegemma_multiply, codegemma::Multiply,
                              xla::ffi::Ffi::Bind()
                                  .Ctx<xla::ffi::ThreadPool>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::F32>>()
                                  .Arg<xla::ffi::Buffer<xla::ffi::S32>>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<std::string_view>("path")
                                  .Attr<int64_t>("bits"));

// The names of the paths this processor can take, best first, with commas between them.
CODEGEMMA_EXPORT const char* codegemma_paths() {
  static const std::string names = [] {
    std::string found;
    for (const auto& known : codegemma::kPaths) {
      if (known.path->is_supported()) found += (found.empty() ? "" : ",") + std::string(known.name);
    }
    return found;
  }();
  return names.c_str();
}
