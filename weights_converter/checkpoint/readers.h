// The readers of the formats, one file each. All add tensors and storages to a Checkpoint that has
// its path, charge what they take to the file's budget (engine/io/limits.h), and throw
// Error(kCheckpoint) without the path in the message.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_READERS_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_READERS_H_

#include <cstdint>
#include <span>
#include <string>

#include "engine/io/limits.h"
#include "weights_converter/checkpoint/checkpoint.h"

namespace lightcap::internal {

// torch.save since 1.6, and TorchScript.
void read_torch_zip(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint);

// torch.save from 0.3 to 1.5: pickles one after the other.
bool is_torch_legacy(std::span<const uint8_t> file);
void read_torch_legacy(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint);

// torch.save before 0.2: a tar archive.
bool is_tar(std::span<const uint8_t> file);
void read_torch_tar(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint);

bool is_safetensors(std::span<const uint8_t> file);
void read_safetensors(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint);

// A JSON file that says which file of a sharded checkpoint holds which tensor; the others lie
// beside it.
bool is_json(std::span<const uint8_t> file);
void read_shard_index(std::span<const uint8_t> file, Budget& budget, Checkpoint& checkpoint);

// read_checkpoint with a budget that several files share.
Checkpoint read_checkpoint(std::span<const uint8_t> file, const std::string& path, Budget& budget);

// Throws an error that names what the file is instead of a checkpoint, and the way out.
[[noreturn]] void fail_not_a_checkpoint(std::span<const uint8_t> file);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_READERS_H_
