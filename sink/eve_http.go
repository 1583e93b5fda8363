// SPDX-License-Identifier: Apache-2.0

package sink

import (
	"net"
	"strconv"
	"strings"
	"time"
)

// maxShown bounds strings of HTTP in EVE, in bytes.
const maxShown = 8 << 10

// http writes one exchange.
func (v *EVE) http(f *eveFlow, x *exchange) {
	f.proto = "http"
	if x.stream != 0 {
		f.proto = "http2"
	}
	t := time.Unix(0, x.request.begin)
	if x.request.begin == 0 {
		t = f.e.Time
	}
	j := v.begin(f, f.e, t, "http", "")
	j.uint("tx_id", x.number)
	j.object("http")
	eveHost(j, x)
	eveShow(j, "url", x.request.target)
	eveShow(j, "http_user_agent", x.request.field("User-Agent"))
	eveShow(j, "xff", x.request.field("X-Forwarded-For"))
	contentType, _, _ := strings.Cut(x.response.field("Content-Type"), ";")
	eveShow(j, "http_content_type", contentType)
	eveShow(j, "http_refer", x.request.field("Referer"))
	eveShow(j, "http_method", x.request.method)
	j.str("protocol", x.version)
	if x.response.status > 0 {
		j.uint("status", uint64(x.response.status))
		eveShow(j, "redirect", x.response.field("Location"))
	}
	j.uint("length", uint64(x.response.bodyLen))
	if x.stream != 0 {
		j.str("version", "2")
		j.object("http2")
		j.uint("stream_id", uint64(x.stream))
		j.endObject()
	}
	j.endObject()
	j.object("sightglass")
	j.uint("request_length", uint64(x.request.bodyLen))
	j.bool("complete", x.request.done && x.response.done)
	j.endObject()
	v.write(f, j, f.e)
}

func eveShow(j *jsonText, name, value string) { j.opt(name, cutString(value, maxShown)) }

// eveHost writes the host without its port, and the port if one was named.
func eveHost(j *jsonText, x *exchange) {
	host := cutString(x.request.authority, maxShown)
	if name, port, err := net.SplitHostPort(host); err == nil {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			j.opt("hostname", name)
			j.uint("http_port", n)
			return
		}
	}
	j.opt("hostname", strings.Trim(host, "[]"))
}

func appendUint(dst []byte, n uint64) []byte { return strconv.AppendUint(dst, n, 10) }
