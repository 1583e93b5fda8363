// SPDX-License-Identifier: Apache-2.0

import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.FileInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/** A TLS server or client of JSSE for tests. Arguments are name=value. */
public final class Peer {
    private static Map<String, String> options;

    public static void main(String[] args) throws Exception {
        // What this Java no longer wants to speak, it still can.
        for (String p : List.of("jdk.tls.disabledAlgorithms", "jdk.tls.legacyAlgorithms", "jdk.certpath.disabledAlgorithms")) {
            Security.setProperty(p, "");
        }
        options = parse(String.join(" ", args));
        if (options.containsKey("port")) {
            serve();
        } else {
            visits();
        }
    }

    private static Map<String, String> parse(String line) {
        Map<String, String> all = new HashMap<>();
        for (String word : line.trim().split(" +")) {
            int i = word.indexOf('=');
            all.put(word.substring(0, i), word.substring(i + 1));
        }
        return all;
    }

    private static Certificate certificate(String file) throws Exception {
        try (InputStream in = new FileInputStream(file)) {
            return CertificateFactory.getInstance("X.509").generateCertificate(in);
        }
    }

    private static PrivateKey key(String file) throws Exception {
        String pem = Files.readString(Path.of(file)).replaceAll("-----[A-Z ]+-----|\\s", "");
        return KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(Base64.getDecoder().decode(pem)));
    }

    /** A context with the certificate of the options, if it is to have one, and an empty cache. */
    private static SSLContext context(boolean identity) throws Exception {
        KeyStore keys = KeyStore.getInstance("PKCS12");
        keys.load(null, null);
        if (identity) {
            keys.setKeyEntry("own", key(options.get("key")), new char[0], new Certificate[] {certificate(options.get("cert"))});
        }
        KeyManagerFactory keyManagers = KeyManagerFactory.getInstance("SunX509");
        keyManagers.init(keys, new char[0]);
        KeyStore trusted = KeyStore.getInstance("PKCS12");
        trusted.load(null, null);
        trusted.setCertificateEntry("ca", certificate(options.get("ca")));
        TrustManagerFactory trustManagers = TrustManagerFactory.getInstance("PKIX");
        trustManagers.init(trusted);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keyManagers.getKeyManagers(), trustManagers.getTrustManagers(), null);
        return context;
    }

    private static void serve() throws Exception {
        SSLServerSocket listener = (SSLServerSocket) context(true).getServerSocketFactory().createServerSocket();
        listener.setEnabledProtocols(options.get("protocols").split(","));
        listener.setEnabledCipherSuites(options.get("suites").split(","));
        listener.setNeedClientAuth("required".equals(options.get("auth")));
        listener.bind(new InetSocketAddress("::", Integer.parseInt(options.get("port"))));
        while (true) {
            SSLSocket socket = (SSLSocket) listener.accept();
            new Thread(() -> answer(socket)).start();
        }
    }

    private static void answer(SSLSocket socket) {
        try (socket) {
            socket.setSoTimeout(30_000);
            BufferedReader in = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.ISO_8859_1));
            String request = in.readLine();
            for (String line = request; line != null && !line.isEmpty(); line = in.readLine()) {
                // the header is of no interest
            }
            if (request == null) {
                return;
            }
            if ("late".equals(options.get("auth"))) {
                socket.getSession().invalidate();
                socket.setNeedClientAuth(true);
                renegotiate(socket);
            }
            String body = request + " from " + subject(socket.getSession()) + "\n";
            String answer = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: " + body.length() + "\r\n\r\n" + body;
            socket.getOutputStream().write(answer.getBytes(StandardCharsets.ISO_8859_1));
        } catch (IOException e) {
            System.out.println("server: " + e);
        }
    }

    /** JSSE only begins to renegotiate by itself, and goes on as it reads; the peer has nothing to say meanwhile. */
    private static void renegotiate(SSLSocket socket) throws IOException {
        CountDownLatch done = new CountDownLatch(1);
        socket.addHandshakeCompletedListener(e -> done.countDown());
        socket.startHandshake();
        int timeout = socket.getSoTimeout();
        socket.setSoTimeout(20);
        while (done.getCount() > 0) {
            try {
                if (socket.getInputStream().read() < 0) {
                    throw new IOException("the peer closed while renegotiating");
                }
            } catch (SocketTimeoutException e) {
                // not done yet
            }
        }
        socket.setSoTimeout(timeout);
    }

    private static String subject(SSLSession session) {
        try {
            return session.getPeerPrincipal().getName();
        } catch (SSLPeerUnverifiedException e) {
            return "nobody";
        }
    }

    /** Makes a visit for each line of standard input, and writes a line about it. */
    private static void visits() throws Exception {
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            Visit v = new Visit(parse(line));
            String problem = "";
            try {
                v.run();
            } catch (Exception e) {
                problem = e.toString();
            }
            Base64.Encoder base64 = Base64.getEncoder();
            System.out.println("done " + v.resumed + " " + base64.encodeToString(v.answer)
                + " " + base64.encodeToString(problem.getBytes(StandardCharsets.UTF_8)) + ".");
        }
    }

    private static final class Visit {
        private final Map<String, String> words;
        boolean resumed;
        byte[] answer = new byte[0];

        Visit(Map<String, String> words) {
            this.words = words;
        }

        void run() throws Exception {
            // Read when a context is made.
            System.setProperty("jdk.tls.client.enableSessionTicketExtension", words.get("tickets"));
            SSLContext context = context("true".equals(words.get("certificate")));
            for (int n = Integer.parseInt(words.get("times")); n > 0; n--) {
                connect(context);
            }
        }

        private void connect(SSLContext context) throws Exception {
            String host = words.get("host");
            int port = Integer.parseInt(words.get("port"));
            try (Socket raw = new Socket()) {
                raw.connect(new InetSocketAddress(host, port), 10_000);
                raw.setSoTimeout(30_000);
                // The name is also what the cache goes by.
                SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket(raw, words.get("name"), port, true);
                SSLParameters parameters = socket.getSSLParameters();
                parameters.setProtocols(words.get("protocol").split(","));
                parameters.setCipherSuites(words.get("suites").split(","));
                parameters.setServerNames(List.of(new SNIHostName(words.get("name"))));
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                socket.setSSLParameters(parameters);
                exchange(socket);
                socket.close();
            }
        }

        private void exchange(SSLSocket socket) throws Exception {
            socket.startHandshake();
            resumed = socket.getSession().getValue("seen") != null;
            socket.getSession().putValue("seen", true);
            if (words.containsKey("then")) {
                socket.setEnabledCipherSuites(words.get("then").split(","));
                renegotiate(socket);
            }
            socket.getOutputStream().write(Base64.getDecoder().decode(words.get("request")));
            ByteArrayOutputStream all = new ByteArrayOutputStream();
            socket.getInputStream().transferTo(all);
            answer = all.toByteArray();
        }
    }
}
