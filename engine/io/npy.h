// NumPy's .npy files, for traces.
#ifndef LIGHTCAP_ENGINE_IO_NPY_H_
#define LIGHTCAP_ENGINE_IO_NPY_H_

#include <cstddef>
#include <string>
#include <vector>

namespace lightcap::internal {

// Writes fp32, row-major, as format version 1.0. Throws Error(kOutput).
void write_npy(const std::string& path, const float* data, const std::vector<size_t>& dims);

struct NpyArray {
  std::vector<float> data;
  std::vector<size_t> dims;
};
// Reads what write_npy, or numpy.save of a C-ordered float32 array, wrote. Throws Error(kInput).
NpyArray read_npy(const std::string& path);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IO_NPY_H_
