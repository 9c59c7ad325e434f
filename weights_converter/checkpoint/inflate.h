// Deflate (RFC 1951) decompression, for checkpoints that somebody zipped again.
#ifndef LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_INFLATE_H_
#define LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_INFLATE_H_

#include <cstdint>
#include <span>

namespace lightcap::internal {

// Unpacks `deflated` into `out`; returns true if it is sound and fills `out` exactly.
bool inflate(std::span<const uint8_t> deflated, std::span<uint8_t> out);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_WEIGHTS_CONVERTER_CHECKPOINT_INFLATE_H_
