#include "cli/sidecar.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include "cli/output.h"
#include "engine/platform/platform.h"
#include "engine/text/unicode.h"

namespace lightcap::internal::cli {
namespace {

constexpr char32_t kReplacement = 0xfffd;

// XML 1.0 has no control characters but tab and line ends, not even escaped, nor U+FFFE and U+FFFF.
bool is_xml(char32_t c) {
  if (c < 0x20) return c == '\t' || c == '\n' || c == '\r';
  return c != 0xfffe && c != 0xffff;
}

std::string xml_text(std::string_view text) {
  std::string escaped;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text, at);
    if (c == '&') {
      escaped += "&amp;";
    } else if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else {
      append_utf8(is_xml(c) ? c : kReplacement, escaped);
    }
  }
  return escaped;
}

std::vector<std::string_view> labels_once(const lightcap_result& result) {
  std::vector<std::string_view> labels;
  for (size_t i = 0; i < result.concept_count; ++i) {
    const std::string_view label = lightcap_concept_at(&result, i)->label;
    if (std::find(labels.begin(), labels.end(), label) == labels.end()) labels.push_back(label);
  }
  return labels;
}

}  // namespace

std::string xmp_packet(const lightcap_result& result) {
  std::string packet =
      "<?xpacket begin=\"\xef\xbb\xbf\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\n"
      "<x:xmpmeta xmlns:x=\"adobe:ns:meta/\" x:xmptk=\"LightCap ";
  packet.append(lightcap_version());
  packet +=
      "\">\n"
      " <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\n"
      "  <rdf:Description rdf:about=\"\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\">\n"
      "   <dc:description>\n"
      "    <rdf:Alt>\n"
      "     <rdf:li xml:lang=\"x-default\">";
  packet.append(xml_text(result.caption))
      .append("</rdf:li>\n    </rdf:Alt>\n   </dc:description>\n");
  const std::vector<std::string_view> labels = labels_once(result);
  if (!labels.empty()) {
    packet += "   <dc:subject>\n    <rdf:Bag>\n";
    for (const std::string_view label : labels)
      packet.append("     <rdf:li>").append(xml_text(label)).append("</rdf:li>\n");
    packet += "    </rdf:Bag>\n   </dc:subject>\n";
  }
  return packet +
         "  </rdf:Description>\n"
         " </rdf:RDF>\n"
         "</x:xmpmeta>\n"
         "<?xpacket end=\"w\"?>\n";
}

std::string sidecar_path(const std::string& picture) { return picture + ".xmp"; }

bool write_sidecar(const std::string& picture, const lightcap_result& result, bool overwrite) {
  const std::string path = sidecar_path(picture);
  if (!overwrite && platform::status(path)) return false;
  const std::string packet = xmp_packet(result);
  write_output(path, {reinterpret_cast<const uint8_t*>(packet.data()), packet.size()});
  return true;
}

}  // namespace lightcap::internal::cli
