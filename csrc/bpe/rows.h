// Merges as the tokenizer's own file spells them, and the tokens that follow from them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace groundup::bpe {

// Reads what follows the bracket that opens the list of merges, to the end of the file: rows
// [left, right, id] or (width 4) [left, right, id, count] between commas, the two brackets that
// close list and file, white space of JSON wherever it may stand. False for anything else, numbers
// that no row can hold among it; then nothing is known about the rows that were read.
bool read_rows(const char* at, const char* end, std::size_t width, std::vector<std::uint32_t>* rows,
               std::vector<std::uint64_t>* counts);

// The largest id of what was seen, of `"id": "text"` between commas, in JSON's spelling (valid
// UTF-8 is the caller's to know) and with ids that rise; -1 where there is none. -2 for anything
// else, for half a surrogate pair and for pairs of them too.
std::int64_t last_seen(const char* at, const char* end) noexcept;

// Where each token ends when the bytes of all stand one after the other: 256 of one byte, then one
// a row. False where a row joins what is not made yet or makes another id than the next, or when
// all take more than max_bytes.
bool ends_of_rows(const std::uint32_t* rows, std::size_t n_rows, std::size_t max_bytes,
                  std::vector<std::size_t>* ends);

}  // namespace groundup::bpe
