// The BPE engine for Python. The GIL is released while the engine works; what it reads is held.
#include "bpe/bind.h"

#include <string>
#include <vector>

namespace groundup {
namespace {

py::array_t<std::int64_t> split(const py::str& text, const std::string& pattern) {
  const bpe::Pattern cut = pattern_named(pattern);
  const Text bytes = utf8_of(text);
  std::vector<std::int64_t> ends;
  {
    const py::gil_scoped_release release;
    bpe::for_each_batch(cut, bytes.begin, bytes.size,
                        [&](std::size_t, const std::size_t* some, std::size_t found) {
                          ends.insert(ends.end(), some, some + found);
                        });
  }
  return to_numpy(std::move(ends));
}

}  // namespace

void bind_bpe(py::module_& m) {
  bind_bpe_trainer(m);
  m.def("split", &split, py::arg("text"), py::arg("pattern"));
  bind_bpe_encoder(m);
  bind_bpe_decoder(m);
  bind_bpe_readers(m);
}

}  // namespace groundup
