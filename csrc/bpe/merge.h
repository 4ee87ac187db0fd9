// Stage 3: learns merges from counted chunks. docs/bpe.md derives what is used here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "bpe/count.h"
#include "bpe/threads.h"

namespace groundup::bpe {

// Which of the pairs with the highest count is merged.
enum class Ties {
  smallest_pair,  // the smallest (left, right) by id, where a byte's id is its value: rustbpe
  huggingface,    // the same with the bytes in the order of Hugging Face's alphabet
  first_seen      // the one whose first current occurrence in the text comes first: minbpe
};

bool find_ties(const char* name, Ties* ties) noexcept;

struct Merge {
  std::uint32_t left;
  std::uint32_t right;
  std::uint32_t id;
  std::uint64_t count;  // of the pair when it was merged, overlapping windows included
};

struct TrainingRules {
  std::size_t n_merges = 0;  // the known ones included
  Ties ties = Ties::smallest_pair;
  std::uint64_t min_frequency = 1;              // least count of a pair to be merged
  std::uint32_t max_token_bytes = 0xFFFFFFFFu;  // a longer token is never made
  // With code points as the base: those that have ids of their own, from 256 on, in their order.
  // The bytes of any other character are merged with nothing.
  std::optional<std::vector<std::uint32_t>> alphabet;
  // (left, right) of the merges that are made first, whatever their counts and lengths: those of
  // the vocabulary to train on from. Each makes the next id and joins ids below it.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> known;
};

// Appends merges until there are `n_merges`, or no pair reaches `min_frequency`. Their ids follow
// those of the bytes and of the alphabet.
// Returns false when interrupted. Throws std::invalid_argument when the corpus passes what 32-bit
// positions or 62-bit counts hold.
// n_steps: how many cells, occurrences and candidates were looked at.
bool train(const ChunkList& chunks, const TrainingRules& rules, const Interrupted& interrupted,
           std::vector<Merge>* merges, std::uint64_t* n_steps);

}  // namespace groundup::bpe
