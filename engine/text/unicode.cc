#include "engine/text/unicode.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

namespace lightcap::internal {
namespace {

constexpr char32_t kReplacement = 0xfffd;

struct Range {
  char32_t first, last;
};

template <size_t n>
bool in(const Range (&ranges)[n], char32_t c) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [c](const Range& range) { return c >= range.first && c <= range.last; });
}

// Base letters of runs of accented Latin ones; '-' where a letter has none and only its case
// changes.
struct Bases {
  char32_t first;
  std::string_view letters;
};
constexpr Bases kLatin[] = {
    {0xc0,
     "aaaaaa-ceeeeiiii-nooooo--uuuuy--aaaaaa-ceeeeiiii-nooooo--uuuuy-y"
     "aaaaaaccccccccdd--eeeeeeeeeegggggggghh--iiiiiiiii---jjkk-llllll-"
     "---nnnnnn---oooooo--rrrrrrsssssssstttt--uuuuuuuuuuuuwwyyyzzzzzz-"},
    {0x1a0, "oo-------------uu"},
    {0x1cd, "aaiioouuuuuuuuuu"},
    {0x1de,
     "aaaa----ggkkoooo--j---gg--nnaa----aaaaeeeeiiiioooorrrruuuusstt--hh------aaeeooooooooyy"},
    {0x1e00,
     "aabbbbbbccddddddddddeeeeeeeeeeffgghhhhhhhhhhiiiikkkkkkllllllllmm"
     "mmmmnnnnnnnnoooooooopppprrrrrrrrssssssssssttttttttuuuuuuuuuuvvvv"
     "wwwwwwwwwwxxxxyyzzzzzzhtwy------aaaaaaaaaaaaaaaaaaaaaaaaeeeeeeee"
     "eeeeeeeeiiiioooooooooooooooooooooooouuuuuuuuuuuuuuyyyyyyyy"},
};

// Letter and what becomes of it, in pairs: bases that are not ASCII, capitals far from their small
// letters.
constexpr std::u32string_view kOthers =
    U"ƆɔƉɖƊɗƎǝƏəƐɛƑƒƓɠƔɣƖɩƗɨƜɯƝɲƟɵƦʀƩʃƮʈƱʊƲʋƷʒǢæǣæǮʒǯʒǼæǽæǾøǿøɄʉɅʌẞß"
    U"ΆαΈεΉηΊιΌοΎυΏωΐιΪιΫυάαέεήηίιΰυϊιϋυόούυώω"
    U"ЀеЁеЃгЇіЌкЍиЎуЙийиѐеёеѓгїіќкѝиўуӁжӂжӐаӑаӒаӓаӖеӗеӜжӝжӞзӟзӢиӣиӤиӥиӦоӧоӬэӭэӮуӯуӰуӱуӲуӳуӴчӵч"
    U"ӸыӹыӀӏϴθ";

constexpr Range kCombining[] = {{0x300, 0x36f},   {0x483, 0x487},   {0x1ab0, 0x1abd},
                                {0x1dc0, 0x1dff}, {0x20d0, 0x20dc}, {0xfe20, 0xfe2f}};

constexpr Range kPunctuation[] = {
    {0x21, 0x2f},     {0x3a, 0x40},     {0x5b, 0x60},     {0x7b, 0x7e},     {0xa1, 0xa1},
    {0xa7, 0xa7},     {0xab, 0xab},     {0xb6, 0xb7},     {0xbb, 0xbb},     {0xbf, 0xbf},
    {0x37e, 0x37e},   {0x387, 0x387},   {0x2010, 0x2027}, {0x2030, 0x2043}, {0x2045, 0x2051},
    {0x2053, 0x205e}, {0x207d, 0x207e}, {0x208d, 0x208e}, {0x2308, 0x230b}, {0x2329, 0x232a},
    {0x2768, 0x2775}, {0x27c5, 0x27c6}, {0x27e6, 0x27ef}, {0x2983, 0x2998}, {0x29d8, 0x29db},
    {0x29fc, 0x29fd}, {0x2e00, 0x2e2e}, {0x2e30, 0x2e4f}, {0x2e52, 0x2e5d}, {0x3001, 0x3003},
    {0x3008, 0x3011}, {0x3014, 0x301f}, {0x3030, 0x3030}, {0x303d, 0x303d}, {0x30a0, 0x30a0},
    {0x30fb, 0x30fb}, {0xfe10, 0xfe19}, {0xfe30, 0xfe52}, {0xfe54, 0xfe61}, {0xfe63, 0xfe63},
    {0xfe68, 0xfe68}, {0xfe6a, 0xfe6b}, {0xff01, 0xff03}, {0xff05, 0xff0a}, {0xff0c, 0xff0f},
    {0xff1a, 0xff1b}, {0xff1f, 0xff20}, {0xff3b, 0xff3d}, {0xff3f, 0xff3f}, {0xff5b, 0xff5b},
    {0xff5d, 0xff5d}, {0xff5f, 0xff65}};

constexpr Range kIdeographs[] = {{0x4e00, 0x9fff},   {0x3400, 0x4dbf},   {0x20000, 0x2a6df},
                                 {0x2a700, 0x2b73f}, {0x2b740, 0x2b81f}, {0x2b820, 0x2ceaf},
                                 {0xf900, 0xfaff},   {0x2f800, 0x2fa1f}};

// Soft hyphen, zero-width and direction marks, private use: Unicode's category C beside control
// codes.
constexpr Range kFormatting[] = {{0x7f, 0x9f},     {0xad, 0xad},     {0x200b, 0x200f},
                                 {0x202a, 0x202e}, {0x2060, 0x206f}, {0xe000, 0xf8ff},
                                 {0xfeff, 0xfeff}, {0xfff9, 0xfffb}};

// Letters whose lower case is the next code point, at even or at odd places.
constexpr Range kPairsFromEven[] = {{0x100, 0x137},   {0x14a, 0x177}, {0x1de, 0x1ef},
                                    {0x1f8, 0x21f},   {0x222, 0x233}, {0x1e00, 0x1e95},
                                    {0x1ea0, 0x1eff}, {0x370, 0x373}, {0x3d8, 0x3ef},
                                    {0x460, 0x481},   {0x48a, 0x4bf}, {0x4d0, 0x52f}};
constexpr Range kPairsFromOdd[] = {{0x139, 0x148}, {0x179, 0x17e}, {0x4c1, 0x4ce}};

char32_t lower(char32_t c) {
  if (c < 0x80) return c >= 'A' && c <= 'Z' ? c + 32 : c;
  if (c >= 0xc0 && c <= 0xde) return c == 0xd7 ? c : c + 32;
  if (c >= 0x391 && c <= 0x3a9) return c + 32;
  if (c >= 0x410 && c <= 0x42f) return c + 32;
  if (c >= 0x400 && c <= 0x40f) return c + 80;
  if (in(kPairsFromEven, c)) return c | 1;
  if (in(kPairsFromOdd, c)) return c + (c & 1);
  return c;
}

}  // namespace

char32_t next_code_point(std::string_view text, size_t& at) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte(at++);
  if (first < 0x80) return first;
  const size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
  if (first < 0xc2 || first > 0xf4 || text.size() - at < more) return kReplacement;
  char32_t c = first & (0x3fu >> more);
  for (size_t i = 0; i < more; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return kReplacement;
    c = c << 6 | (byte(at + i) & 0x3fu);
  }
  constexpr char32_t kSmallest[] = {0, 0x80, 0x800, 0x10000};
  if (c < kSmallest[more] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return kReplacement;
  at += more;
  return c;
}

size_t valid_utf8_prefix(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t begin = at;
    // U+FFFD itself has three bytes.
    if (next_code_point(text, at) == kReplacement && at == begin + 1) return begin;
  }
  return text.size();
}

void append_utf8(char32_t c, std::string& out) {
  const auto push = [&out](char32_t byte) { out += static_cast<char>(static_cast<uint8_t>(byte)); };
  if (c < 0x80) return push(c);
  if (c < 0x800) {
    push(0xc0 | c >> 6);
  } else if (c < 0x10000) {
    push(0xe0 | c >> 12);
    push(0x80 | (c >> 6 & 0x3f));
  } else {
    push(0xf0 | c >> 18);
    push(0x80 | (c >> 12 & 0x3f));
    push(0x80 | (c >> 6 & 0x3f));
  }
  push(0x80 | (c & 0x3f));
}

char32_t fold_letter(char32_t c) {
  if (c < 0x80) return lower(c);
  if (in(kCombining, c)) return 0;
  for (const Bases& run : kLatin) {
    if (c < run.first || c >= run.first + run.letters.size()) continue;
    const char base = run.letters[c - run.first];
    if (base != '-') return static_cast<char32_t>(base);
  }
  for (size_t i = 0; i < kOthers.size(); i += 2) {
    if (kOthers[i] == c) return kOthers[i + 1];
  }
  return lower(c);
}

bool is_space(char32_t c) {
  return c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xa0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f ||
         c == 0x3000;
}

bool is_control(char32_t c) {
  if (c == '\t' || c == '\n' || c == '\r') return false;
  return c < 0x20 || c == kReplacement || in(kFormatting, c);
}

bool is_punctuation(char32_t c) { return in(kPunctuation, c); }

bool is_ideograph(char32_t c) { return in(kIdeographs, c); }

}  // namespace lightcap::internal
