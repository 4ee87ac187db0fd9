// The table of contents of groundup._C. The only file, beside bpe/bind.cpp, that knows Python.
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "isa.h"
#include "parallel.h"

namespace py = pybind11;

namespace groundup {

void bind_bpe(py::module_& m);  // bpe/bind.cpp

namespace {

void bind_platform(py::module_& m) {
  m.def("isa", [] { return std::string(isa_name(active_isa())); });
  m.def("isas", [] {
    py::list names;
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
      if (machine_has(isa)) names.append(isa_name(isa));
    return names;
  });
  m.def("usable_threads", [] { return usable_threads(); });
}

}  // namespace
}  // namespace groundup

PYBIND11_MODULE(_C, m) {
  if (const char* complaint = groundup::choose_isa()) throw py::import_error(complaint);
  groundup::watch_forks();
  groundup::bind_platform(m);
  groundup::bind_bpe(m);
}
