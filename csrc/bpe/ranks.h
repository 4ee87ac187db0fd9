// tiktoken's ranks: the file that lists them, and their rule as rows of merges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace groundup::bpe {

// Reads lines of base64(token) SPACE rank into (*tokens)[rank]; an unused rank stays empty. False
// for anything else: a line of another form, an empty token, one token or one rank twice, a rank
// of 2^24 and more.
bool read_ranks(const char* lines, std::size_t n, std::vector<std::string>* tokens);

// Rows (left, right, id), by id, then by where they cut: every cut of every token into two tokens.
// With them as merges and whole_chunks, tiktoken's rule (any neighbours that together are a token,
// the lowest id first) is the encoder's. Of equal tokens the first stands; empty ones are none.
//
// Sorted by its bytes, a token follows the longest other token that it begins with, or one that
// begins with that; so its beginnings are found by going up, and its ends alike with all bytes
// reversed. Linear in tokens and rows but for the sorting, however long the tokens. Throws
// std::invalid_argument when there are more than 2^22 rows, or rows of 2^30 bytes in all.
std::vector<std::uint32_t> all_splits(const std::vector<std::string>& tokens);

}  // namespace groundup::bpe
