// What of DLPack's stable C ABI (versions 1.x) is read here: where a tensor of torch's lies and
// how, without torch's headers. torch.Tensor.__dlpack_c_exchange_api__ holds the table of
// functions. https://github.com/dmlc/dlpack/blob/main/include/dlpack/dlpack.h
#pragma once

#include <cstdint>

namespace groundup::dlpack {

constexpr std::uint32_t kMajorVersion = 1;
constexpr const char* kCapsuleName = "dlpack_exchange_api";

// Borrowed from the tensor: valid while it lives and nobody changes it.
struct TensorView {
  void* data;
  std::int32_t device_type, device_id;
  std::int32_t n_dimensions;
  std::uint8_t dtype_code, dtype_bits;
  std::uint16_t dtype_lanes;
  const std::int64_t* shape;
  const std::int64_t* strides;  // in elements
  std::uint64_t byte_offset;
};

struct ExchangeTable {
  std::uint32_t major, minor;
  const ExchangeTable* previous;
  void (*allocate)();  // this and the next two: not used here
  void (*to_managed)();
  void (*from_managed)();
  int (*view_of)(void* tensor, TensorView* out);  // 0, or -1 with a Python exception; may be null
  void (*current_stream)();
};

}  // namespace groundup::dlpack
