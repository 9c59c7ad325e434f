// Writes the fuzz targets' first inputs into FOLDER/TARGET: the files that the tests build.
//   write_seeds FOLDER
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "engine/runtime/error.h"
#include "tests/checkpoint_corruptions.h"
#include "tests/checkpoint_files.h"
#include "tests/forged_jpeg.h"
#include "tests/pictures.h"
#include "weights_converter/checkpoint/zip_archive.h"

namespace lightcap::internal::testing {
namespace {

class Seeds {
 public:
  explicit Seeds(std::filesystem::path folder) : folder_(std::move(folder)) {}

  void write(const std::string& target, std::string_view seed) {
    std::filesystem::create_directories(folder_ / target);
    const std::filesystem::path path =
        folder_ / target / ("seed" + std::to_string(count_[target]++));
    std::ofstream file(path, std::ios::binary);
    file.write(seed.data(), static_cast<std::streamsize>(seed.size()));
    file.close();
    if (!file) throw std::runtime_error("cannot write " + path.string());
  }

 private:
  std::filesystem::path folder_;
  std::map<std::string, size_t> count_;
};

void write_checkpoints(Seeds& seeds) {
  std::vector<std::string> files = sound_checkpoints();
  files.push_back(yolo_module());
  files.push_back(torch_script());
  for (const Corruption& corruption : all_corruptions()) files.push_back(corruption.file);
  constexpr size_t kMaxSeed = 16384, kMagicSize = 15;
  for (const std::string& file : files) {
    if (file.size() > kMaxSeed) continue;
    seeds.write("fuzz_checkpoint", file);
    if (file.starts_with("PK")) seeds.write("fuzz_zip", file);
    if (file.starts_with("\x80\x02\x8a\x0a")) seeds.write("fuzz_legacy", file.substr(kMagicSize));
    if (file.size() > 512 && file.substr(257, 5) == "ustar") seeds.write("fuzz_tar", file);
    if (file.size() > 8 && file[8] == '{') seeds.write("fuzz_safetensors", file.substr(8));
    try {
      const ZipArchive archive(as_bytes(file));
      const ZipEntry* entry = archive.find("archive/data.pkl");
      if (entry == nullptr) continue;
      seeds.write("fuzz_pickle", std::string(entry->packed.begin(), entry->packed.end()));
    } catch (const Error&) {
      continue;  // not a zip, or a damaged one
    }
  }
}

// One picture of each kind that has code of its own.
void write_pictures(Seeds& seeds) {
  const Buffer palette = chunk("PLTE", {1, 2, 3, 4, 5, 6});
  Buffer profile = bytes_of("Raw profile type exif");
  append(profile, {0, 0});
  append(profile, zlib(bytes_of("\nexif\n 26\n49492a0008000000010012010300010000000600000000\n")));
  Buffer xmp = bytes_of("XML:com.adobe.xmp");
  append(xmp, {0, 1, 0, 0, 0});
  append(xmp, zlib(bytes_of("<x tiff:Orientation=\"6\"/>")));
  const Buffer pictures[] = {
      jpeg(),
      bmp(),
      ppm(),
      ppm("P5 5 9 200\n"),
      png(1),
      png(4),
      forged({0xc2, 24, 17, 3}, refinements(3)),
      forged({0xc0, 9, 9, 4}, {kBaselineScan, kBaselineScan}),
      png_of(5, 3, 4, 3, Buffer(12), palette),
      png_of(9, 9, 16, 6, Buffer(800), chunk("zTXt", profile), 1),
      png_of(5, 3, 8, 6, Buffer(63), chunk("iTXt", xmp)),
      png_of(5, 3, 8, 2, Buffer(48), chunk("CgBI", {0, 0, 0, 0})),
      png_of(5, 3, 1, 0, Buffer(6), chunk("tRNS", {0, 1})),
  };
  for (const Buffer& picture : pictures) {
    seeds.write("fuzz_image", std::string(picture.begin(), picture.end()));
  }
}

}  // namespace
}  // namespace lightcap::internal::testing

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fputs("usage: write_seeds FOLDER\n", stderr);
    return 2;
  }
  try {
    lightcap::internal::testing::Seeds seeds(argv[1]);
    lightcap::internal::testing::write_checkpoints(seeds);
    lightcap::internal::testing::write_pictures(seeds);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
