// SPDX-License-Identifier: Apache-2.0
// Holds the paths of a processor to recorded products: paths_test products.bin
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
  const bool is_good = error < 1e-6 && position == data.size();
  std::printf("%s: %s, largest error %.1e of the largest product\n", name,
              is_good ? "right" : "WRONG", error);
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
  return is_good ? 0 : 1;
}
