#include "engine/image/turbo.h"

#include <algorithm>
#include <csetjmp>
#include <cstdio>
#include <new>

// It needs the above.
#include <jpeglib.h>

#include <jerror.h>

namespace lightcap::internal {
namespace {

// libjpeg says what stops it by calling a function that must not return: longjmp() leads out of its
// frames, which hold nothing but what its own account frees. No object of ours may lie between, so
// that all of C++ is in the functions that call these.
enum Outcome : int { kDone, kLeftToOthers, kOutOfMemory, kInterrupted };

class Decoder {
 public:
  explicit Decoder(const EncodedImage& file) : interruption_(file.use.interruption) {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = stop;
    errors_.emit_message = doubt;
    progress_.progress_monitor = look;
  }
  ~Decoder() { jpeg_destroy_decompress(&info_); }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // The size of the picture, and of the one that serves as well.
  Outcome begin(const uint8_t* bytes, size_t size, const ImageUse& use);
  size_t full_width() const { return info_.image_width; }
  size_t full_height() const { return info_.image_height; }
  size_t width() const { return info_.output_width; }
  size_t height() const { return info_.output_height; }

  Outcome decode(uint8_t* pixels);

 private:
  static Decoder& self(j_common_ptr info) { return *static_cast<Decoder*>(info->client_data); }
  [[noreturn]] static void leave(j_common_ptr info, Outcome outcome) {
    std::longjmp(self(info).way_out_, outcome);
  }
  [[noreturn]] static void stop(j_common_ptr info) {
    leave(info, info->err->msg_code == JERR_OUT_OF_MEMORY ? kOutOfMemory : kLeftToOthers);
  }
  // A level below 0 is a warning: libjpeg would go on with data that cannot be right.
  static void doubt(j_common_ptr info, int level) {
    if (level < 0) leave(info, kLeftToOthers);
  }
  // Called for each row of blocks that is read, and for each row of pixels.
  static void look(j_common_ptr info) {
    const Interruption* interruption = self(info).interruption_;
    if (interruption != nullptr && interruption->requested()) leave(info, kInterrupted);
  }
  void choose_colours();
  void choose_size(const ImageUse& use);

  jpeg_decompress_struct info_ = {};
  jpeg_error_mgr errors_ = {};
  jpeg_progress_mgr progress_ = {};
  std::jmp_buf way_out_;
  const Interruption* const interruption_;
};

// As stb_image has it: three components are RGB where their names or Adobe's segment say so.
void Decoder::choose_colours() {
  info_.out_color_space = JCS_RGB;
  if (info_.num_components == 1) return;
  const jpeg_component_info* c = info_.comp_info;
  const bool is_named =
      c[0].component_id == 'R' && c[1].component_id == 'G' && c[2].component_id == 'B';
  const bool is_adobes =
      info_.saw_Adobe_marker != 0 && info_.Adobe_transform == 0 && info_.saw_JFIF_marker == 0;
  info_.jpeg_color_space = is_named || is_adobes ? JCS_RGB : JCS_YCbCr;
}

void Decoder::choose_size(const ImageUse& use) {
  const auto [shorter, longer] =
      std::minmax({size_t{info_.image_width}, size_t{info_.image_height}});
  unsigned divisor = 8;
  const auto serves = [&](size_t side, size_t wanted) {
    return (side + divisor - 1) / divisor >= wanted;
  };
  while (divisor > 1 && !(serves(shorter, use.shorter_side) && serves(longer, use.longer_side)))
    divisor /= 2;
  info_.scale_num = 1;
  info_.scale_denom = divisor;
}

Outcome Decoder::begin(const uint8_t* bytes, size_t size, const ImageUse& use) {
  if (const int outcome = setjmp(way_out_); outcome != kDone) return static_cast<Outcome>(outcome);
  jpeg_create_decompress(&info_);
  info_.progress = &progress_;
  jpeg_mem_src(&info_, bytes, static_cast<unsigned long>(size));
  jpeg_read_header(&info_, TRUE);
  // Four are inks, which Adobe and others store in several ways.
  if (info_.num_components != 1 && info_.num_components != 3) return kLeftToOthers;
  choose_colours();
  choose_size(use);
  info_.do_block_smoothing = FALSE;
  jpeg_calc_output_dimensions(&info_);
  return kDone;
}

Outcome Decoder::decode(uint8_t* pixels) {
  if (const int outcome = setjmp(way_out_); outcome != kDone) return static_cast<Outcome>(outcome);
  jpeg_start_decompress(&info_);
  while (info_.output_scanline < info_.output_height) {
    JSAMPROW row = pixels + size_t{3} * info_.output_width * info_.output_scanline;
    jpeg_read_scanlines(&info_, &row, 1);
  }
  jpeg_finish_decompress(&info_);
  return kDone;
}

// True for a success, false where stb_image has to see to the file.
bool succeeded(Outcome outcome, const EncodedImage& file) {
  if (outcome == kOutOfMemory) throw std::bad_alloc();
  if (outcome == kInterrupted) file.use.interruption->check();
  return outcome == kDone;
}

}  // namespace

Image turbo_decode(const EncodedImage& file, const uint8_t* bytes, size_t size) {
  Decoder decoder(file);
  if (!succeeded(decoder.begin(bytes, size, file.use), file)) return {};
  Image image = blank_image(decoder.width(), decoder.height());
  image.full_width = decoder.full_width();
  image.full_height = decoder.full_height();
  if (!succeeded(decoder.decode(image.pixels.get()), file)) return {};
  return image;
}

}  // namespace lightcap::internal
