// Recognises kinds of files by their first bytes.
#ifndef LIGHTCAP_ENGINE_IMAGE_FORMATS_H_
#define LIGHTCAP_ENGINE_IMAGE_FORMATS_H_

#include <cstddef>
#include <cstdint>
#include <string>

namespace lightcap::internal {

enum class ImageFormat { kJpeg, kPng, kBmp, kPnm };

// The format of a picture that can be decoded. Throws Error(kInput) for any other file, with its
// name where it is known: "PATH: this is a GIF; accepted are ...".
ImageFormat recognise_image(const uint8_t* data, size_t size, const std::string& source);

}  // namespace lightcap::internal

#endif  // LIGHTCAP_ENGINE_IMAGE_FORMATS_H_
