#include <pybind11/pybind11.h>

namespace groundup {

void bind_bpe(pybind11::module_& m) { (void)m; }

}  // namespace groundup
