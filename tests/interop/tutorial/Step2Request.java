// Step 2: request the certificate
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;

public class Step2Request {
    public static void main(String[] args) throws Exception {
        ObjectMapper mapper = new ObjectMapper();
        ObjectNode payload = mapper.createObjectNode();
        payload.put("csr", Files.readString(Path.of("client_auth.csr")));
        payload.put("name", "API Client Auth Certificate");
        payload.put("expiration_date", "2026-10-20T23:59:59Z");

        HttpRequest request = HttpRequest.newBuilder()
            .uri(URI.create(System.getenv("BASE_URL") + "/account/api/v1/client-auth-certificate"))
            .header("x-api-key", System.getenv("SERVICE_USER_TOKEN"))
            .header("Content-Type", "application/json")
            .POST(HttpRequest.BodyPublishers.ofString(mapper.writeValueAsString(payload)))
            .build();
        HttpResponse<String> response = HttpClient.newHttpClient().send(request, HttpResponse.BodyHandlers.ofString());
        System.out.println("Status Code: " + response.statusCode());
        System.out.println(response.body());
    }
}
