// SPDX-License-Identifier: Apache-2.0
// Holds the paths of a processor to recorded products, paths_test products.bin, and to attention in
// double precision.
// Built for another processor it runs under an emulator, where there is no Python.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "path.h"

namespace {

using namespace codegemma;

std::vector<char> data;
size_t position = 0;

template <typename T>
std::vector<T> Read(int64_t count) {
  std::vector<T> values(count);
  if (position + count * sizeof(T) > data.size()) {
    std::puts("the file is too short");
    std::exit(2);
  }
  std::memcpy(values.data(), data.data() + position, count * sizeof(T));
  position += count * sizeof(T);
  return values;
}

double CheckCase(const Path& path) {
  const auto header = Read<int32_t>(4);
  const int64_t count = header[0], inputs = header[1], outputs = header[2], bits = header[3];
  const auto q = Read<uint8_t>(outputs * inputs * bits / 8);
  const auto scale = Read<uint16_t>(outputs * inputs / kGroup);
  const auto x = Read<float>(count * inputs);
  const auto expected = Read<double>(count * outputs);
  std::vector<int8_t> row_q(count * inputs);
  std::vector<float> row_scale(count * inputs / kGroup), out(count * outputs);
  std::vector<int32_t> bias(count * inputs / kGroup);
  const Rows rows = {count, inputs, row_q.data(), row_scale.data(), bias.data(), nullptr};
  for (int64_t row = 0; row < count; ++row) {
    path.prepare(x.data() + row * inputs, rows, row, path.offset(bits));
  }
  path.multiply(rows, {q.data(), scale.data(), bits, inputs, outputs, out.data()}, 0,
                outputs / kLanes);
  double highest = 0, error = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    highest = std::fmax(highest, std::fabs(expected[i]));
    error = std::fmax(error, std::fabs(out[i] - expected[i]));
  }
  return error / highest;
}

// Queries of one key head that see 1 to `count` slots more than `held`, over a cache of waves.
template <typename Stored>
double CheckAttention(const Path& path, int64_t head_dim, int64_t held, int64_t count) {
  const int64_t num_slots = held + count;
  std::vector<Stored> keys(num_slots * head_dim), values(num_slots * head_dim);
  std::vector<float> q(count * head_dim), out(count * head_dim), highest(count), total(count);
  std::vector<double> wide_keys(keys.size()), wide_values(keys.size());
  const auto store = [](double value, Stored& stored, double& wide) {
    float narrow = static_cast<float>(value);
    if (sizeof(Stored) == 2) {
      uint32_t bits;
      std::memcpy(&bits, &narrow, sizeof bits);
      bits &= 0xffff0000;
      std::memcpy(&narrow, &bits, sizeof bits);
      std::memcpy(&stored, reinterpret_cast<char*>(&bits) + 2, 2);  // the upper half
    } else {
      std::memcpy(&stored, &narrow, sizeof narrow);
    }
    wide = narrow;
  };
  for (size_t i = 0; i < keys.size(); ++i) {
    store(std::sin(0.37 * i), keys[i], wide_keys[i]);
    store(std::cos(0.91 * i), values[i], wide_values[i]);
  }
  Span span = {};
  span.head_dim = head_dim, span.count = count, span.stored_bits = 8 * sizeof(Stored);
  span.keys = keys.data(), span.values = values.data();
  span.first = 0, span.last = num_slots;
  span.highest = highest.data(), span.total = total.data();
  for (int64_t row = 0; row < count; ++row) {
    for (int64_t i = 0; i < head_dim; ++i) {
      q[row * head_dim + i] = static_cast<float>(std::sin(1.7 * (row * head_dim + i)));
    }
    span.q[row] = q.data() + row * head_dim;
    span.out[row] = out.data() + row * head_dim;
    span.num_seen[row] = held + row + 1;
  }
  path.attend(span);
  double error = 0;
  for (int64_t row = 0; row < count; ++row) {
    std::vector<double> expected(head_dim);
    double sum = 0;
    for (int64_t slot = 0; slot <= held + row; ++slot) {
      double score = 0;
      for (int64_t i = 0; i < head_dim; ++i) {
        score += q[row * head_dim + i] * wide_keys[slot * head_dim + i];
      }
      const double weight = std::exp(score);
      sum += weight;
      for (int64_t i = 0; i < head_dim; ++i) {
        expected[i] += weight * wide_values[slot * head_dim + i];
      }
    }
    for (int64_t i = 0; i < head_dim; ++i) {
      const double found = out[row * head_dim + i] / total[row];
      error = std::fmax(error, std::fabs(found - expected[i] / sum));
    }
  }
  return error;
}

bool Check(const char* name, const Path& path) {
  if (!path.is_supported()) {
    std::printf("%s: not supported here\n", name);
    return false;
  }
  position = 0;
  double error = 0;
  for (int32_t left = Read<int32_t>(1)[0]; left > 0; --left) {
    error = std::fmax(error, CheckCase(path));
  }
  double off = 0;
  for (const int64_t head_dim : {32, 64, 256}) {
    for (const int64_t count : {1, 3, 8, 32}) {
      off = std::fmax(off, CheckAttention<uint16_t>(path, head_dim, 150, count));
      off = std::fmax(off, CheckAttention<float>(path, head_dim, 7, count));
    }
  }
  const bool is_good = error < 1e-6 && position == data.size() && off < 1e-5;
  std::printf("%s: %s, largest error %.1e of the largest product, of attention %.1e\n", name,
              is_good ? "right" : "WRONG", error, off);
  return is_good;
}

}  // namespace

int main(int argc, char** argv) {
  std::FILE* file = argc > 1 ? std::fopen(argv[1], "rb") : nullptr;
  if (file == nullptr) return 2;
  char chunk[4096];
  for (size_t got; (got = std::fread(chunk, 1, sizeof chunk, file)) > 0;) {
    data.insert(data.end(), chunk, chunk + got);
  }
  bool is_good = Check("portable", kPortable);
#ifdef CODEGEMMA_NEON
  is_good = Check("neon", kNeon) && is_good;
#endif
#ifdef CODEGEMMA_AVX2
  is_good = Check("avx2", kAvx2) && is_good;
#endif
#ifdef CODEGEMMA_AVXVNNI
  is_good = Check("avxvnni", kAvxVnni) && is_good;
#endif
#ifdef CODEGEMMA_AVX512
  is_good = Check("avx512", kAvx512) && is_good;
#endif
#ifdef CODEGEMMA_AMX
  is_good = Check("amx", kAmx) && is_good;
#endif
  return is_good ? 0 : 1;
}
