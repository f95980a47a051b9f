// A virtual network for the app, and private endpoints for everything it talks to.
param location string
param tags object
param token string
param prefix string
param appSubnetPrefix string
param endpointSubnetPrefix string
param backupStorageId string
param hostStorageId string
param vaults array

var storage = environment().suffixes.storage
var sites = { AzureCloud: 'azurewebsites.net', AzureUSGovernment: 'azurewebsites.us', AzureChinaCloud: 'chinacloudsites.cn' }
// The private name of .vault.azure.net is privatelink.vaultcore.azure.net.
var zoneNames = [
  'privatelink.blob.${storage}'
  'privatelink.queue.${storage}'
  'privatelink.table.${storage}'
  'privatelink${replace(environment().suffixes.keyvaultDns, '.vault.', '.vaultcore.')}'
  'privatelink.${sites[environment().name]}'
]
var storageEndpoints = [
  { name: 'backups-blob', id: backupStorageId, part: 'blob', zone: 0 }
  { name: 'host-blob', id: hostStorageId, part: 'blob', zone: 0 }
  { name: 'host-queue', id: hostStorageId, part: 'queue', zone: 1 }
  { name: 'host-table', id: hostStorageId, part: 'table', zone: 2 }
]

resource guard 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: 'nsg-${token}'
  location: location
  tags: tags
  properties: {
    securityRules: [
      {
        name: 'refuse-the-internet'
        properties: {
          priority: 4000
          direction: 'Inbound'
          access: 'Deny'
          protocol: '*'
          sourceAddressPrefix: 'Internet'
          sourcePortRange: '*'
          destinationAddressPrefix: '*'
          destinationPortRange: '*'
        }
      }
    ]
  }
}

resource network 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: 'vnet-${token}'
  location: location
  tags: tags
  properties: {
    addressSpace: { addressPrefixes: [prefix] }
    subnets: [
      {
        name: 'app'
        properties: {
          addressPrefix: appSubnetPrefix
          networkSecurityGroup: { id: guard.id }
          delegations: [
            { name: 'functions', properties: { serviceName: 'Microsoft.App/environments' } }
          ]
        }
      }
      {
        name: 'endpoints'
        properties: {
          addressPrefix: endpointSubnetPrefix
          networkSecurityGroup: { id: guard.id }
        }
      }
    ]
  }
}

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for name in zoneNames: {
  name: name
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (name, index) in zoneNames: {
  parent: zones[index]
  name: 'vnet-${token}'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: { id: network.id }
  }
}]

module storageEndpoint 'private-endpoint.bicep' = [for endpoint in storageEndpoints: {
  name: 'keyvault-backup-endpoint-${endpoint.name}'
  params: {
    location: location
    tags: tags
    name: 'pe-${token}-${endpoint.name}'
    subnetId: network.properties.subnets[1].id
    targetId: endpoint.id
    part: endpoint.part
    zoneId: zones[endpoint.zone].id
  }
}]

module vaultEndpoint 'private-endpoint.bicep' = [for (vault, index) in vaults: {
  name: 'keyvault-backup-endpoint-vault-${index}'
  params: {
    location: location
    tags: tags
    name: 'pe-${token}-${last(split(vault, '/'))}'
    subnetId: network.properties.subnets[1].id
    targetId: vault
    part: 'vault'
    zoneId: zones[3].id
  }
}]

output appSubnetId string = network.properties.subnets[0].id
output endpointSubnetId string = network.properties.subnets[1].id
output sitesZoneId string = zones[4].id
