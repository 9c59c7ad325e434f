// Captions beside their pictures, where programs for photographs look for them.
#ifndef LIGHTCAP_CLI_SIDECAR_H_
#define LIGHTCAP_CLI_SIDECAR_H_

#include <string>

#include "lightcap.h"

namespace lightcap::internal::cli {

// The caption as an XMP packet's dc:description, in x-default, and the concepts' labels, each once,
// as its dc:subject. Texts may hold any bytes: XML cannot have all, and those are U+FFFD.
std::string xmp_packet(const lightcap_result& result);

// The sidecar's path: photo.jpg.xmp, as Lightroom's readers, digiKam and darktable have it.
std::string sidecar_path(const std::string& picture);

// Writes it, complete or not at all. False where one is there already and `overwrite` is not set:
// it is left as it is. Throws Error(kOutput).
bool write_sidecar(const std::string& picture, const lightcap_result& result, bool overwrite);

}  // namespace lightcap::internal::cli

#endif  // LIGHTCAP_CLI_SIDECAR_H_
